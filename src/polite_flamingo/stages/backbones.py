"""Stage `backbones`: put every model the pipeline starts from in place and check the small ones' figures."""

from __future__ import annotations

import shutil
from typing import Any

from tqdm import tqdm

from polite_flamingo.errors import ModelError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.origins import PACKAGED, materialise
from polite_flamingo.params.schema import Params
from polite_flamingo.tracking.base import Tracker


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Fetch, build or train each backbone the profile names.

    Returns:
        Origin, content hash and held-out figures per model.

    Raises:
        ModelError: a model is absent or altered, or a shipped one no longer reaches its figures.
    """
    from polite_flamingo.world.training.train import TOLERANCE, measure

    root = params.models / "backbones"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    report: dict[str, Any] = {}
    for name, origin in tqdm(params.used_backbones.items(), desc="backbones", unit="model"):
        folder = root / name
        kind, _, rest = origin.partition(":")
        if kind == "build":
            from polite_flamingo.model.assemble import assemble_flamingo

            figures = assemble_flamingo(rest, folder, seed=params.seed)
        elif origin == "laptop" and name == "flamingo":
            from polite_flamingo.model.shipped import assemble_shipped

            figures = assemble_shipped(folder)
        elif kind == "train":
            from polite_flamingo.train.real_nli import train_real_nli

            figures = train_real_nli(params.image_root / rest, folder, encoder=params.backbones.sts, seed=params.seed)
        else:
            materialise(origin, name, folder)
            figures = {}
        if kind == "packaged" and not rest:
            expected = read_json(PACKAGED / "manifest.json")["figures"][name]
            figures = measure(name, folder)
            off = {k: (v, expected[k]) for k, v in figures.items() if abs(v - expected[k]) > TOLERANCE}
            if off:
                raise ModelError(
                    "a shipped model does not reach its figures here",
                    value=off,
                    where=name,
                    next_step="train anew with `make backbones`, or report the machine",
                )
        report[name] = {"origin": origin, "hash": fingerprint(folder), "figures": figures}
        tracker.metrics({f"{name}.{key}": value for key, value in figures.items()})
    write_json(params.reports / "backbones.json", report)
    return report
