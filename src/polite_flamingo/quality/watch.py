"""What the gates compare with the accepted run, and the verdict on it."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.filter.decisions import KEPT
from polite_flamingo.io.shards import read_shards
from polite_flamingo.quality import suites
from polite_flamingo.quality.check import Check, NamedRow
from polite_flamingo.quality.drift import Figures, Spreads
from polite_flamingo.quality.settings import Drift
from polite_flamingo.quality.validator import Validator

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("words", "rouge_l", "sts", "reward")  # beside CLIP's, of the best paragraph


def texts(frame: pd.DataFrame, categories: Sequence[str], columns: Sequence[str], record: str = "id") -> Figures:
    """What is watched of a frame: columns with few values, and the words of texts."""
    return Figures(
        frame[record].str.split("/", n=1).str[0],
        {name: frame[name] for name in categories},
        {f"{name} words": frame[name].str.count(r"\S+") for name in columns},
    )


def decisions(folder: Path) -> Figures:
    """What is watched of the decisions: what became of each record, and its scores."""
    import pandas as pd

    sources: list[str] = []
    fates: list[str] = []
    scores = {name: array("d") for name in (*SCORES, "clip_logit")}
    for row in read_shards(folder, ("source", "failed", "scores")):
        sources.append(sys.intern(row["source"]))
        fates.append(sys.intern(row["failed"] or KEPT))
        measured = json.loads(row["scores"])
        measured["clip_logit"] = max(measured.get("clip_logits") or [None])
        for name, values in scores.items():
            score = measured.get(name)
            values.append(math.nan if score is None else score)
    numbers = {name: pd.Series(values, dtype=float) for name, values in scores.items()}
    return Figures(pd.Series(sources, dtype=str), {"fate": pd.Series(fates, dtype=str)}, numbers)


def drift_checks(
    gate: str, figures: Figures, accepted: Spreads | None, settings: Drift, validator: Validator
) -> list[Check]:
    """Whether the records of each source are spread as in the accepted run; a source that is not says how.

    Args:
        gate: Name of the gate.
        figures: What is compared.
        accepted: The accepted run; None: there is none, and nothing is compared.
        settings: Bounds, and what a figure beyond them does.
        validator: Runs the suite.
    """
    import pandas as pd

    if settings.action == "off":
        return []
    shifts = [] if accepted is None else figures.shifts(accepted, settings)
    if not shifts:
        because = "nothing to compare with: `polite-flamingo accept-baseline` accepts this run"
        return [Check("accepted run", "drift", because, passed=True, severity="warning", drift=True)]
    names = list(dict.fromkeys(shift.figure for shift in shifts))
    ratios = {(shift.source, shift.figure): round(shift.moved / shift.allowed, 4) for shift in shifts}
    sources = list(dict.fromkeys(shift.source for shift in shifts))
    columns = {name: [ratios.get((source, name)) for source in sources] for name in names}
    suite = suites.drift(names, "critical" if settings.action == "fail" else "warning")
    result = validator.run(
        f"{gate}_drift", pd.DataFrame({"id": sources, **columns}).astype(dict.fromkeys(names, float)), suite
    )
    checks = []
    for name, check in zip(names, result.checks, strict=True):
        beyond = [shift for shift in shifts if shift.figure == name and shift.moved > shift.allowed]
        rows = tuple(NamedRow(s.source, f"{s.moved:.1%} lie elsewhere, {s.allowed:.1%} may; {s.text}") for s in beyond)
        checks.append(replace(check, unexpected=0, rows=rows, drift=True))
    return checks
