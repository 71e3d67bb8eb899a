"""All figures of the goals: held-out records through the stages' own jobs, then counted."""

from __future__ import annotations

import heapq
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate.learned import ALL
from polite_flamingo.draws import key
from polite_flamingo.errors import DataError
from polite_flamingo.filter.sets import judge_sets
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.goals.assistant import asked_beside, is_tuned, measure_assistant
from polite_flamingo.goals.figures import Curated, Share, measure
from polite_flamingo.goals.table import as_shares
from polite_flamingo.io.text import read_json
from polite_flamingo.laptop.adapters import share
from polite_flamingo.laptop.judges import MEASURED
from polite_flamingo.model.origins import LAPTOP
from polite_flamingo.params.schema import Params
from polite_flamingo.preview.work import run_preview
from polite_flamingo.records import Sample
from polite_flamingo.sources.drawing import name_of
from polite_flamingo.sources.selection import Selection
from polite_flamingo.stages.filter import decided

LOG = logging.getLogger(__name__)
PART = "held_out"


def rewrite_held_out(params: Params, most: int, folder: Path) -> list[Curated]:
    """Rewrite, score and filter held-out records of the profile's annotation sources; goes on where it was.

    Args:
        params: Of the profile.
        most: Records of a source, at most.
        folder: Where unfinished and finished work lies.

    Raises:
        DataError: no source has held-out records.
    """
    samples = held_out(params, "annotation", most)
    LOG.info("%d held-out records of %d sources", len(samples), len({sample.id.split("/")[0] for sample in samples}))
    shutil.rmtree(folder / "pf1m", ignore_errors=True)
    run_preview(params, samples, folder)
    sets = judge_sets(folder / "scored" / TABLE, params.filter)
    return [
        Curated(rewrite, decision.kept, decision.rewrite.rewritten)
        for rewrite, decision in decided(folder / "scored", params.filter, sets)
    ]


def held_out(params: Params, role: str, most: int) -> list[Sample]:
    """Held-out samples of the sources of a role, the same draw each time.

    Raises:
        DataError: there are none.
    """
    found: list[Sample] = []
    for spec in params.sources:
        if spec.role == role:
            selection = Selection(spec.model_copy(update={"part": PART}), spec.reader())
            drawn = heapq.nsmallest(most, _usable(params, selection), key=lambda s: key(name_of(s.id, params.seed)))
            found += sorted(drawn, key=lambda sample: sample.id)
    if not found:
        raise DataError(
            "no source has held-out photographs", where=params.image_root, next_step="--data-root is their folder"
        )
    return found


def figures_of(params: Params, records: Sequence[Curated], most: int, folder: Path) -> dict[str, Share]:
    """Figures of the records, of the tuned assistant where there is one, of the judges and of the filters."""
    figures = measure(records)
    if is_tuned(params):
        asked = [*held_out(params, "evaluation", most), *asked_beside(params.image_root, most)]
        figures |= measure_assistant(params, asked, folder / "assistant")
    cards = read_json(LAPTOP / "manifest.json")["figures"]
    measured = read_json(MEASURED) if MEASURED.is_file() else {}  # as they are shipped; else what their cards say
    for judge, names in (("nli", ("esnli", "statements")), ("clip", ("auc", "recall_at_1_of_100"))):
        figures |= as_shares(measured.get(judge, cards[judge]["held_out"]), judge, names)
    calibrated = params.reports / "calibration" / "real.json"
    if calibrated.is_file():
        report: dict[str, Any] = read_json(calibrated)
        chain = report["chain"].get("profile", report["chain"]["paper"])
        named = {"caught": chain["recall"], "clean_kept": chain["clean_kept"]}
        figures |= as_shares(named, "calibrate", tuple(named))
        figures |= _learned(report.get("learned", {}).get("measured", {}))
    return figures


def _learned(measured: dict[str, Any]) -> dict[str, Share]:
    """What the learned filter caught: kinds of errors it was trained on, and each when it was not."""
    if not measured:
        return {}
    together, unseen = measured[ALL]["seen"], [rates["unseen"] for rates in measured.values() if "unseen" in rates]
    count = sum(rates["corrupted"] for rates in unseen)
    caught = sum(round(rates["caught"] * rates["corrupted"]) for rates in unseen)
    return {
        "learned_caught": _rate(together["caught"], together["corrupted"]),
        "learned_clean_kept": _rate(together["clean_kept"], together["clean"]),
        "unseen_caught": _rate(caught / count, count),
    }


def _rate(value: float, count: int) -> Share:
    right = round(value * count)
    return share([True] * right + [False] * (count - right))


def _usable(params: Params, selection: Selection) -> Iterator[Sample]:
    spec, root = selection.spec, params.image_root
    for item in selection.reader.read(root, spec.folder, spec.split, seed=params.seed):
        if isinstance(item, Sample) and all((root / image.path).is_file() for image in item.images):
            yield from selection.taken(item)
