"""How well the scores of the paper's filters tell corrupted rewrites from clean ones, by the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.nli import LABELS

COLUMNS = ("score", "cost", "recall")
POINTS = 100  # of one curve
ENTAILMENT = LABELS.index("entailment")


def _sts(rewrite: Rewrite, task: Task) -> float | None:
    cosine = rewrite.scores.get("sts")
    return -cosine if rewrite.task is task and cosine is not None else None


def _clip(rewrite: Rewrite) -> float | None:
    logits = rewrite.scores.get("clip_logits") or ()
    return -min(logits) if len(logits) > 1 else None


def _nli(rewrite: Rewrite) -> float | None:
    logits = rewrite.scores.get("nli")
    if not rewrite.task.is_vqa or not logits:
        return None
    return float(max(value for i, value in enumerate(logits) if i != ENTAILMENT) - logits[ENTAILMENT])


SUSPICIONS: dict[str, Callable[[Rewrite], float | None]] = {  # higher is worse; None: the filter does not look at it
    "STS (captions)": partial(_sts, task=Task.CAPTION),  # similarities of different tasks are not alike
    "STS (changes)": partial(_sts, task=Task.CHANGE),
    "NLI (questions)": _nli,
    "CLIP (paragraphs)": _clip,
}


@dataclass
class ScoreCurves:
    """ROC curves of single scores, whatever the thresholds."""

    seen: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, rewrite: Rewrite, corrupted: bool) -> None:
        """Count a record whose truth is known."""
        for name, suspicion in SUSPICIONS.items():
            value = suspicion(rewrite)
            if value is not None:
                self.seen.setdefault(name, []).append((value, corrupted))

    def rows(self) -> Iterator[tuple[str, float, float]]:
        """Score, share of the clean records it would cost, share of the corrupted ones it would catch.

        One row per threshold, from none taken to all taken; no rows of a score that has seen only one of the classes.
        """
        for name, seen in self.seen.items():
            wrong = sum(corrupted for _, corrupted in seen)
            right = len(seen) - wrong
            if not wrong or not right:
                continue
            caught = lost = 0
            points = [(0, 0)]
            ordered = sorted(seen, reverse=True)
            for i, (value, corrupted) in enumerate(ordered):
                caught, lost = caught + corrupted, lost + (not corrupted)
                if i + 1 == len(ordered) or ordered[i + 1][0] != value:  # ties are taken together
                    points.append((caught, lost))
            step = -(-len(points) // POINTS)
            for caught, lost in [*points[:-1:step], points[-1]]:
                yield name, round(lost / right, 4), round(caught / wrong, 4)
