"""NLI filter for VQA (section 4.2): a rewritten answer that contradicts the raw one is dropped."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.scorers.nli import LABELS, nli_label
from polite_flamingo.settings import Settings

CONTRADICTION = LABELS.index("contradiction")


class ContradictionFilter(Settings):
    """Looks at the largest of the three ``nli`` logits of VQA records; its score is the contradiction logit."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "nli"
    title: ClassVar[str] = "NLI"
    axis: ClassVar[str] = "Largest rejected logit less the largest accepted one"

    reject: list[Literal["contradiction", "entailment", "neutral"]] = Field(
        ["contradiction"], description="section 4.2: contradiction is dropped (VQA)"
    )

    def threshold(self, task: Task) -> list[str]:
        """Labels that are rejected."""
        return list(self.reject)

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject an answer whose label is one of `reject`."""
        import numpy as np

        lists = batch.numbers("nli")
        applies = batch.questions & (lists.lengths == len(LABELS))
        logits = lists.values[lists.starts[applies, None] + np.arange(len(LABELS))]
        score = np.full(len(batch), np.nan)
        score[applies] = logits[:, CONTRADICTION]
        rejected = np.zeros(len(batch), dtype=bool)
        rejected[applies] = np.array([label in self.reject for label in LABELS])[logits.argmax(axis=1)]
        return Verdicts(score, rejected)

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return f"nli: {nli_label(batch.numbers('nli').of(row).tolist())}"
