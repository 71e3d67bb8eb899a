"""What a rewriting's report says, counted while the records pass by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.rewrite.repair import RewriteAnswer
from polite_flamingo.scorers.text import is_unchanged
from polite_flamingo.world.truth import GroundTruth


@dataclass(slots=True)
class RewriteTally:
    """Counts of rewrites.

    Args:
        truth: The embedded world's ground truth; None: the images are real.
    """

    truth: GroundTruth | None
    rewritten: int = 0
    cut_off: int = 0
    unchanged: int = 0
    empty: int = 0
    words_raw: int = 0
    words_rewritten: int = 0
    repaired: int = 0
    kept_raw: int = 0
    tokens: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    saved: Counter[str] = field(default_factory=Counter)
    judged: list[tuple[str, bool, bool]] = field(default_factory=list)

    def add(self, rewrite: Rewrite, answer: RewriteAnswer) -> Rewrite:
        """Count a record and hand it on."""
        self.rewritten += 1
        self.cut_off += rewrite.finish_reason == "length"
        self.unchanged += is_unchanged(rewrite)
        self.empty += not rewrite.rewritten.strip()
        self.words_raw += len(rewrite.raw_answer.split())
        self.words_rewritten += len(rewrite.rewritten.split())
        self.tokens += answer.tokens
        self.by_source[rewrite.source] += 1
        self.prompts[str(rewrite.extras["prompt"])] += 1
        if answer.attempts:
            self.faults[answer.fault] += 1
            self.repaired += not answer.raw
            self.kept_raw += answer.raw
            self.saved[answer.fault] += not answer.raw
        judgement = None if self.truth is None else self.truth.judge_rewrite(rewrite)
        if judgement is not None:
            self.judged.append((str(rewrite.task), judgement.answer_preserved, bool(judgement.hallucinated)))
        return rewrite

    def report(self, probes: Sequence[Rewrite], lost: int) -> dict[str, Any]:
        """All figures.

        Args:
            probes: Corrupted copies of rewrites, which are not counted otherwise.
            lost: Annotations without an answer.
        """
        report: dict[str, Any] = {
            "annotations": self.rewritten + lost,
            "rewritten": self.rewritten,
            "lost": lost,
            "probes": len(probes),
            "probes_by_kind": dict(sorted(Counter(str(p.extras["probe"]) for p in probes).items())),
            "cut_off": self.cut_off,
            "unchanged": self.unchanged,
            "empty": self.empty,
            "mean_words_raw": _share(self.words_raw, self.rewritten),
            "mean_words_rewritten": _share(self.words_rewritten, self.rewritten),
            "by_source": dict(sorted(self.by_source.items())),
            "prompts": dict(sorted(self.prompts.items())),
            "generated_tokens": self.tokens,
            "repair": {
                "tried": self.faults.total(),
                "saved": self.repaired,
                "kept_raw": self.kept_raw,
                "tried_by_fault": dict(sorted(self.faults.items())),
                "saved_by_fault": dict(sorted((+self.saved).items())),
            },
        }
        return report if self.truth is None else report | self._judgements()

    def _judgements(self) -> dict[str, Any]:
        """What the ground truth says about the rewrites."""
        return {
            "judged": len(self.judged),
            "answer_preserved": _mean([preserved for _, preserved, _ in self.judged]),
            "hallucinated": _mean([hallucinated for _, _, hallucinated in self.judged]),
            "answer_preserved_by_task": {
                task: _mean([preserved for t, preserved, _ in self.judged if t == task])
                for task in sorted({task for task, _, _ in self.judged})
            },
        }


def _mean(values: Sequence[bool]) -> float | None:
    return _share(sum(values), len(values))


def _share(total: int, count: int) -> float | None:
    return round(total / count, 4) if count else None
