"""Rouge-L between the raw answer and its rewrite (column ``rouge_l``): how much of the wording is shared.

F measure with Porter stemming, on the whole rewritten text, before any paragraph is cut. PF-1M's ``rouge_score``.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS

STEMS = 65_536  # words whose stem is remembered


@cache
def _scorer() -> Any:
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenize import tokenize

    class Tokens:
        """The library's own tokens; it stems every word anew, which takes longer than all the rest of a record."""

        stem = staticmethod(lru_cache(STEMS)(PorterStemmer().stem))

        def tokenize(self, text: str) -> list[str]:
            tokens: list[str] = tokenize(text, self)
            return tokens

    return RougeScorer(["rougeL"], tokenizer=Tokens())


def rouge_l(text: str, reference: str) -> float:
    """Rouge-L F measure, 0..1; symmetric in its arguments."""
    return float(_scorer().score(reference, text)["rougeL"].fmeasure)


def rouge_score(rewrite: Rewrite) -> float:
    """Rouge-L of a rewrite with its raw answer, rounded as published."""
    return round(rouge_l(rewrite.rewritten, rewrite.raw_answer), DECIMALS)
