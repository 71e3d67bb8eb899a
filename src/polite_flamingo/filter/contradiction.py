"""NLI filter for VQA (section 3.3): a rewritten answer that contradicts the raw one is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from polite_flamingo.filter.columns import Batch, Verdicts, numbers
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.scorers.nli import LABELS, nli_label
from polite_flamingo.settings import Settings

CONTRADICTION = LABELS.index("contradiction")


class NliSettings(Settings):
    """Labels that are rejected."""

    inline: ClassVar[bool] = True
    reject: list[Literal["contradiction", "entailment", "neutral"]] = Field(
        ["contradiction"], description="section 3.3: contradiction is dropped (VQA)"
    )


@dataclass(frozen=True, slots=True)
class ContradictionFilter:
    """Looks at the largest of the three ``nli`` logits of VQA records; its score is the contradiction logit."""

    reject: tuple[str, ...] = ("contradiction",)
    name: str = "nli"

    def threshold(self, task: Task) -> list[str]:
        """Labels that are rejected."""
        return list(self.reject)

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject an answer whose label is one of `reject`."""
        logits = numbers(rewrite, "nli") if rewrite.task.is_vqa else None
        if logits is None:
            return Verdict()
        score = logits[CONTRADICTION]
        label = nli_label(logits)
        return Verdict(f"nli: {label}", score) if label in self.reject else Verdict(score=score)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        import numpy as np

        lists = batch.numbers("nli")
        applies = batch.questions & (lists.lengths == len(LABELS))
        logits = lists.values[lists.starts[applies, None] + np.arange(len(LABELS))]
        score = np.full(len(batch), np.nan)
        score[applies] = logits[:, CONTRADICTION]
        rejected = np.zeros(len(batch), dtype=bool)
        rejected[applies] = np.array([label in self.reject for label in LABELS])[logits.argmax(axis=1)]
        return Verdicts(score, rejected)
