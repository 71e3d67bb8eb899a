"""Rouge-L between the raw answer and its rewrite (column ``rouge_l``): how much of the wording is shared.

F measure with Porter stemming, on the whole rewritten text, before any paragraph is cut. PF-1M's ``rouge_score``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(text: str, reference: str) -> float:
    """Rouge-L F measure, 0..1; symmetric in its arguments."""
    return float(_scorer().score(reference, text)["rougeL"].fmeasure)


def rouge_score(rewrite: Rewrite) -> float:
    """Rouge-L of a rewrite with its raw answer, rounded as published."""
    return round(rouge_l(rewrite.rewritten, rewrite.raw_answer), DECIMALS)
