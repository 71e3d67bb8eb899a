"""Repetition filter: a decoder caught in a loop. Ours; the paper's decoding forbids repeated trigrams instead."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.records import Rewrite, Verdict
from polite_flamingo.scorers.text import repeated_share


@dataclass(frozen=True, slots=True)
class RepetitionFilter:
    """Looks at the text itself."""

    max_share: float
    name: str = "repetition"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a text with more than `max_share` of its words in repeated 4-grams."""
        share = round(repeated_share(rewrite.rewritten), 4)
        if share > self.max_share:
            return Verdict(f"repetition: share {share:.4f} above {self.max_share}", share)
        return Verdict(score=share)
