"""Repetition filter: a decoder caught in a loop. Ours; the paper's decoding forbids repeated trigrams instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from polite_flamingo.records import Rewrite, Verdict

N = 4
_WORD = re.compile(r"\w+")


def repeated_share(text: str, n: int = N) -> float:
    """Share of the words that lie in an n-gram which has occurred before in the text; 0 for shorter texts."""
    words = _WORD.findall(text.lower())
    seen: set[tuple[str, ...]] = set()
    repeated = [False] * len(words)
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            repeated[start : start + n] = [True] * n
        seen.add(gram)
    return sum(repeated) / len(words) if words else 0.0


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
