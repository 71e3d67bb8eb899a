"""Stage `download`: official files to samples, with every unusable row in quarantine.

In the embedded world the official files are rendered first. Otherwise they stay where they are and a manifest of their
sizes and hashes stands for them.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import publishing
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE, Params
from polite_flamingo.sources.counts import warn_of_count
from polite_flamingo.sources.drawing import SampleReader
from polite_flamingo.sources.manifest import dataset_folders, write_manifest
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.sources.selection import ROLES, Selection, problem_of, summarise
from polite_flamingo.tracking.base import Tracker

LOG = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Render or list the official files, read every source, draw the records of each role.

    Writes ``data/P/raw``, ``data/P/samples/{instruction,annotation,evaluation,pf1m}``, ``quarantine.jsonl`` beside
    them and ``reports/P/download.json``.

    Args:
        params: Resolved parameters.
        tracker: Gets the counts.

    Returns:
        What the report holds: ``read``, ``rejected``, ``rejected_share``, ``kept`` per role, ``licences`` and ``tasks``
        of what was kept, ``without_image`` (kept samples whose picture is not at hand) and a row per source.

    Raises:
        DataError: the data root or an annotation file is unusable, a source yields nothing, or more than
            ``quality.max_rejected_share`` of the rows were rejected; the quarantine file is written before.
    """
    selections = [Selection(spec, spec.reader()) for spec in params.sources]
    if params.world is not None:
        _render(params)
    else:
        folders = dataset_folders(params.image_root, selections)
        hint = f"set {DATA_ROOT_VARIABLE} or pass --data-root"
        write_manifest(params.image_root, folders, params.data / "raw" / "manifest.json", hint=hint)

    out = params.data / "samples"
    with publishing(out) as staging:
        quarantine = _read(params, selections, staging)
        problem = problem_of(selections, params.quality.max_rejected_share)
        if problem is not None:
            for role in ROLES:
                shutil.rmtree(staging / role)
    if params.world is None:  # the embedded world has the official names, not the official size
        for selection in selections:
            warn_of_count(selection.spec.name, selection.spec.split, selection.counts.read)
    if problem is not None:
        what, next_step = problem
        raise DataError(
            what + "".join(f"\n    {line}" for line in quarantine.reasons.lines()),
            where=out / "quarantine.jsonl",
            next_step=next_step,
        )
    report = summarise(selections)
    write_json(params.reports / "download.json", report)
    kept = {f"kept.{role}": count for role, count in report["kept"].items()}
    tracker.metrics({"read": report["read"], "rejected": report["rejected"], **kept})
    LOG.info("read %d rows, rejected %d, kept %s", report["read"], report["rejected"], report["kept"])
    for reason in quarantine.reasons.lines():
        LOG.warning("in quarantine (%s): %s", out / "quarantine.jsonl", reason)
    return report


def _render(params: Params) -> None:
    from polite_flamingo.world.render import render

    assert params.world is not None
    with publishing(params.data / "raw") as staging:
        render(staging, params.world.scenes.model_dump(), params.world.image_size, params.seed)


def _read(params: Params, selections: list[Selection], folder: Path) -> Quarantine:
    """Write the samples of each role and the quarantine file to `folder`."""
    with (
        ThreadPoolExecutor(params.runtime.threads) as pool,
        open(folder / "quarantine.jsonl", "w", encoding="utf-8") as file,
    ):
        quarantine = Quarantine(file)
        reader = SampleReader(params.image_root, pool, quarantine, params.seed)
        for role in ROLES:
            chosen = [selection for selection in selections if selection.spec.role == role]
            rows = (sample.to_row() for sample in reader.draw(chosen, getattr(params.limits, role)))
            if not write_shards(folder / role, rows):  # DVC knows no folder without a file
                (folder / role / "EMPTY").write_text("no samples of this role\n", encoding="utf-8")
    return quarantine
