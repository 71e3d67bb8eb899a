"""NLI filter for VQA (section 3.3): a rewritten answer that contradicts the raw one is dropped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from polite_flamingo.filter.columns import numbers
from polite_flamingo.records import Rewrite, Verdict
from polite_flamingo.scorers.nli import LABELS, nli_label


@dataclass(frozen=True, slots=True)
class ContradictionFilter:
    """Looks at the largest of the three ``nli`` logits of VQA records; its score is the contradiction logit."""

    reject: Collection[str] = ("contradiction",)
    name: str = "nli"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject an answer whose label is one of `reject`."""
        logits = numbers(rewrite, "nli") if rewrite.task.is_vqa else None
        if logits is None:
            return Verdict()
        score = logits[LABELS.index("contradiction")]
        label = nli_label(logits)
        return Verdict(f"nli: {label}", score) if label in self.reject else Verdict(score=score)
