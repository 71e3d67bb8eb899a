"""CIDEr of a caption with its references (Vedantam et al. 2015): TF-IDF similarity of their n-grams.

CIDEr-D with n = 1 to 4 and sigma = 6, as the COCO caption evaluation computes and calls it. One caption's value lies
between 0 and 10; published figures are 100 x the mean. How rare an n-gram is depends on the references of the whole
data set, so a set needs more than one image, and figures of sets of different sizes cannot be compared.

The kept libraries bring more than these lines: pycocoevalcap starts a Java program for its tokens, aac-metrics installs
audio models. A test holds pycocoevalcap's own numbers; tokens differ from its Java program's in 12 of 8,859 captions of
COCO, a mean in its fourth decimal.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the penalty for another length, in words
SCALE = 10.0
REMEMBERED = 2048  # references whose weights are kept at hand: they meet one answer of each model

_TOKEN = re.compile(r"\b[od]'\w{2,}|\w+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+(?:(?:[-./]|(?<=\d)[,:](?=\d))\w+)*")

NGram = tuple[str, ...]


class Cider:
    """CIDEr-D in one data set.

    Args:
        references: The references of each of its images.
    """

    def __init__(self, references: Iterable[Sequence[str]]) -> None:
        import numpy as np

        self._images = 0
        self._vectors = lru_cache(REMEMBERED)(self._weighed)
        hashes = array("q")  # most n-grams are in one image alone, as if unseen: what is kept are the others
        for texts in references:
            self._images += 1
            hashes.extend({hash(ngram) for text in texts for ngram in _ngrams(text)})
        known, counts = np.unique(np.array(hashes), return_counts=True)
        several = counts > 1
        self._seen_in: dict[int, int] = dict(zip(known[several].tolist(), counts[several].tolist(), strict=True))

    def score(self, text: str, references: Sequence[str]) -> float:
        """CIDEr-D of `text`, 0 to 10; 0.0 without references.

        Args:
            text: The caption.
            references: Those of its image.
        """
        if not references:
            return 0.0
        ours = self._weighed(text)
        total = sum(_similarity(ours, self._vectors(reference)) for reference in references)
        return SCALE * total / (LONGEST * len(references))

    def _weighed(self, text: str) -> _Vectors:
        most = math.log(self._images) if self._images else 0.0
        weights: list[dict[NGram, float]] = [{} for _ in range(LONGEST)]
        counts = _ngrams(text)
        for ngram, count in counts.items():
            weights[len(ngram) - 1][ngram] = count * (most - math.log(self._seen_in.get(hash(ngram), 1)))
        return _Vectors(weights, sum(count for ngram, count in counts.items() if len(ngram) == 2))


class _Vectors:
    """TF-IDF weights of a text's n-grams, by their number of words, and its length in pairs of words."""

    def __init__(self, weights: list[dict[NGram, float]], length: int) -> None:
        self.weights = weights
        self.length = length

    @cached_property
    def norms(self) -> list[float]:
        return [math.sqrt(sum(weight * weight for weight in own.values())) for own in self.weights]


def tokens(text: str) -> list[str]:
    """Words of a text in lower case, clitics apart ("man", "'s"; "do", "n't"), without punctuation."""
    return _TOKEN.findall(text.lower())


def _ngrams(text: str) -> Counter[NGram]:
    words = tokens(text)
    return Counter(
        tuple(words[start : start + size]) for size in range(1, LONGEST + 1) for start in range(len(words) - size + 1)
    )


def _similarity(ours: _Vectors, theirs: _Vectors) -> float:
    """Sum over the lengths of n-grams of the clipped cosine, less where the texts differ in length."""
    penalty = math.exp(-((ours.length - theirs.length) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for own, other, norm, other_norm in zip(ours.weights, theirs.weights, ours.norms, theirs.norms, strict=True):
        if norm and other_norm:
            shared = own.keys() & other.keys()
            total += sum(min(own[ngram], other[ngram]) * other[ngram] for ngram in shared) / (norm * other_norm)
    return total * penalty
