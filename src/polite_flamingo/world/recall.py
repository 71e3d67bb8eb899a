"""The filters measured by the ground truth of a rendered world."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.world.roc import ScoreCurves
from polite_flamingo.world.truth import GroundTruth


@dataclass
class FilterRecall:
    """The filters against the ground truth of a rendered world; everything is None on real data.

    A corrupted record (answer changed, or an absent object named) is recalled when it is rejected or when the paragraph
    step has cut what was wrong. A clean record counts as kept when it is kept and still clean.
    """

    world: GroundTruth | None
    natural: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    curves: ScoreCurves = field(default_factory=ScoreCurves)

    def add(self, rewrite: Rewrite, kept: bool, text: str) -> None:
        """Compare one decision with the truth, where it is known.

        Args:
            rewrite: The record as it came.
            kept: Whether it is kept.
            text: The response after the paragraph step.
        """
        if self.world is None:
            return
        before = self.world.judge_rewrite(rewrite)
        after = self.world.judge_rewrite(rewrite, text)
        if before is None or after is None:
            return
        self.curves.add(rewrite, before.corrupted)
        kept_wrong = kept and after.corrupted
        kept_right = kept and not after.corrupted
        seen = {
            "judged": True,
            "preserved": before.answer_preserved,
            "kept": kept,
            "kept_preserved": kept and after.answer_preserved,
            "kept_corrupted": kept_wrong,
            "corrupted": before.corrupted,
            "recalled": before.corrupted and not kept_wrong,
            "clean": not before.corrupted,
            "clean_kept": not before.corrupted and kept_right,
        }
        probe = str(rewrite.extras.get("probe") or "")
        counter = self.probes if probe else self.natural
        counter.update(name for name, true in seen.items() if true)
        if before.corrupted:
            kind = self.kinds.setdefault(probe or "natural", Counter())
            kind.update(("corrupted", "recalled") if seen["recalled"] else ("corrupted",))

    def report(self) -> dict[str, Any]:
        """Shares, None where there is nothing to count."""
        n, p = self.natural, self.probes
        both = n + p
        return {
            "answer_preserved_before": _share(n["preserved"], n["judged"]),
            "answer_preserved_after": _share(n["kept_preserved"], n["kept"]),
            "corrupted_after": _share(n["kept_corrupted"], n["kept"]),
            "recall_of_corrupted": _share(both["recalled"], both["corrupted"]),
            "clean_kept": _share(both["clean_kept"], both["clean"]),
            "recall_natural": _share(n["recalled"], n["corrupted"]),
            "clean_kept_natural": _share(n["clean_kept"], n["clean"]),
            "recall_probes": _share(p["recalled"], p["corrupted"]),
            "judged": n["judged"],
            "natural_corrupted": n["corrupted"],
            "probes": p["judged"],
            "corruptions": {
                kind: {"records": c["corrupted"], "recalled": c["recalled"]} for kind, c in sorted(self.kinds.items())
            },
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
