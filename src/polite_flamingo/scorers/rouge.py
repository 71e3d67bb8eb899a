"""Rouge-L between the raw answer and its rewrite (column ``rouge_l``): how much of the wording is shared.

F measure with Porter stemming, on the whole rewritten text, before any paragraph is cut. PF-1M's ``rouge_score``. The
library knows no letters but a to z: of other scripts than Latin, words (or characters, where words are not set apart by
spaces) count here, too, so that equal texts are equal in any script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS
from polite_flamingo.scorers.text import SPACELESS

# Every script from Greek on that sets words apart: a run of letters
_SPACED = "\u0370-\u0dff\u0f00-\u0fff\u10a0-\u177f\u1800-\u1dff\u1f00-\u1fff\u2d00-\u2dff\ua4d0-\ua6ff\ua800-\ud7ff"
_STOPS = "\u037e\u0387\u0589\u05be\u05c3\u060c\u061b\u061f\u06d4\u0964\u0965"  # punctuation among them
_OTHERS = re.compile(f"([{SPACELESS}]|(?:(?![{_STOPS}])[{_SPACED}])+)")
STEMS = 65_536  # words whose stem is remembered


def rouge_l(text: str, reference: str) -> float:
    """Rouge-L F measure, 0..1; symmetric in its arguments.

    Tokens and the measure are the library's. It looks for the longest common subsequence among all tokens; here only
    those that both have take part, which changes no length and takes a fifth of the time.
    """
    from rouge_score.scoring import fmeasure

    ours, theirs = (_tokens()(said) for said in (text, reference))
    if not ours or not theirs:
        return 0.0
    common = set(ours) & set(theirs)
    length = _common_length(*([token for token in tokens if token in common] for tokens in (ours, theirs)))
    return float(fmeasure(length / len(ours), length / len(theirs)))


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for token in first:
        above = row
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if token == other else max(above[place + 1], row[place]))
    return row[-1]


@cache
def _tokens() -> Callable[[str], list[str]]:
    """The library's tokens; it would stem every word anew."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score.tokenize import tokenize

    class Stemmer:
        stem = staticmethod(lru_cache(STEMS)(PorterStemmer().stem))

    library = partial(tokenize, stemmer=Stemmer())

    def tokens(text: str) -> list[str]:
        if text.isascii() or _OTHERS.search(text) is None:
            return library(text)
        pieces = _OTHERS.split(text.lower())
        return [token for n, piece in enumerate(pieces) for token in ([piece] if n % 2 else library(piece))]

    return tokens


def rouge_score(rewrite: Rewrite) -> float:
    """Rouge-L of a rewrite with its raw answer, rounded as published."""
    return round(rouge_l(rewrite.rewritten, rewrite.raw_answer), DECIMALS)
