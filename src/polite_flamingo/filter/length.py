"""Length filter: too short says nothing, too long rambles. Figure 10 names it; the bounds are ours."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.records import Rewrite, Verdict


@dataclass(frozen=True, slots=True)
class LengthFilter:
    """Words separated by white space, bounds included."""

    min_words: int
    max_words: int
    name: str = "length"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject what has fewer than `min_words` or more than `max_words`."""
        words = len(rewrite.rewritten.split())
        if words < self.min_words:
            return Verdict(f"length: {words} words, fewer than {self.min_words}", words)
        if words > self.max_words:
            return Verdict(f"length: {words} words, more than {self.max_words}", words)
        return Verdict(score=words)
