"""The rewriter's training data (section 3.2): pairs of a drafted and a revised response, one sequence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io import read_shards
from polite_flamingo.records import RewritePair
from polite_flamingo.train.collate import Example
from polite_flamingo.train.dialogue import encode_pair, truncate
from polite_flamingo.train.multiturn import join
from polite_flamingo.train.packed import PackedExamples, Packer, Samples, identity_of
from polite_flamingo.train.store import CACHE, TokenStore, cached, token_key


def pairs_of(folder: Path, split: str) -> Iterator[RewritePair]:
    """Stream the pairs of a split from shards.

    Raises:
        DataError: there is none.
    """
    found = False
    for row in read_shards(folder):
        if row["split"] == split:
            found = True
            yield RewritePair.from_row(row)
    if not found:
        raise DataError(
            "no pairs of this split",
            value=split,
            where=folder,
            next_step="run `polite-flamingo distort` with more responses",
        )


def pair_example(tokenizer: Any, pair: RewritePair, context_length: int) -> Example | None:
    """The sequence of one pair; None when the prompt leaves no room for a single token of the revised response."""
    packer = Packer.whole(tokenizer, context_length=context_length)
    return truncate(join([encode_pair(tokenizer, pair)], (), ()), context_length, media=packer.media)


class PairData:
    """Sequences of the rewriter, the same ones in every epoch (a `train.data.TrainingData`).

    Args:
        store: Tokenised pairs.
        packer: Made by `Packer.whole`.
        seed: Draws the pairs to validate with.
        validation_share: Share of the pairs that is not learned, see `validation`.
    """

    def __init__(self, store: TokenStore, packer: Packer, *, seed: int = 0, validation_share: float = 0.0) -> None:
        self._samples = Samples({"pairs": store})
        self._packer = packer
        every = range(len(self._samples))
        held = set(Random(f"{seed}:pairs:validation").sample(every, round(validation_share * len(every))))
        self._held_out = sorted(held)
        self._learned: Sequence[int] = every if not held else [i for i in every if i not in held]

    @classmethod
    def from_shards(
        cls,
        tokenizer: Any,
        pairs: Path,
        *,
        split: str,
        context_length: int,
        seed: int = 0,
        validation_share: float = 0.0,
        cache: Path = CACHE,
    ) -> PairData:
        """Tokenise the pairs of a split into `cache`, where that was not done before, and read them from there.

        Args:
            tokenizer: The model's.
            pairs: Shards of pairs.
            split: ``train`` or ``held_out``.
            context_length: Most tokens of a sequence; longer ones are cut at their end.
            seed: Draws the pairs to validate with.
            validation_share: Share of the pairs that is not learned.
            cache: Folder of the token files.

        Raises:
            DataError: there is no pair of this split.
        """
        store = cached(
            cache,
            token_key(tokenizer, "pairs", split, pairs),
            lambda: (encode_pair(tokenizer, pair) for pair in pairs_of(pairs, split)),
        )
        packer = Packer.whole(tokenizer, context_length=context_length)
        return cls(store, packer, seed=seed, validation_share=validation_share)

    @cached_property
    def _examples(self) -> PackedExamples:
        return PackedExamples(self._samples, self._learned, self._packer)

    @cached_property
    def validation(self) -> PackedExamples:
        """The pairs that are not learned."""
        return PackedExamples(self._samples, self._held_out, self._packer)

    @cached_property
    def identity(self) -> str:
        """See `train.data.TrainingData`."""
        return identity_of(self._samples, self._packer, self._examples)

    def epoch(self, epoch: int) -> PackedExamples:
        """See `train.data.TrainingData`; `epoch` changes nothing."""
        return self._examples
