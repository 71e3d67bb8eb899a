"""The rewriter's training data (section 3.3): pairs of a drafted and a revised response, one sequence each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.model.tokens import encode, piece, plain
from polite_flamingo.prompts.templates import IMAGE_TOKEN, rewriter_prompt
from polite_flamingo.records import RewritePair
from polite_flamingo.train.data import IGNORED, EpochExamples, Example, truncate
from polite_flamingo.train.store import CACHE, Segment, TokenStore, cached, token_key

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOG = logging.getLogger(__name__)


def pairs_of(folder: Path, split: str) -> Iterator[RewritePair]:
    """Stream the pairs of a split from shards.

    Raises:
        DataError: there is none.
    """
    pair = None
    for row in read_shards(folder):
        if row["split"] == split:
            pair = RewritePair.from_row(row)
            yield pair
    if pair is None:
        raise DataError(
            "no pairs of this split",
            value=split,
            where=folder,
            next_step="run `polite-flamingo distort` with more responses",
        )


def encode_pair(tokenizer: Any, pair: RewritePair) -> Segment:
    """A training sequence of the rewriter: Figure 3's prompt, loss on the revised response and its end only."""
    question = encode(
        tokenizer,
        rewriter_prompt(plain(tokenizer, pair.instruction), plain(tokenizer, pair.drafted), len(pair.images)),
    )
    answer = [*piece(tokenizer, plain(tokenizer, pair.revised.strip())), tokenizer.eos_token_id]
    ids, labels = (*question, *answer), (*[IGNORED] * len(question), *answer)
    images = tuple(image.path for image in pair.images)
    return Segment(pair.id, ids, labels, images, 1, pair.source, bool(images))


def pair_example(tokenizer: Any, pair: RewritePair, context_length: int) -> Example | None:
    """The sequence of one pair; None when the prompt leaves no room for a single token of the revised response."""
    return truncate(encode_pair(tokenizer, pair).as_example(), context_length, media=_media(tokenizer))


class PairExamples(EpochExamples):
    """Sequences of pairs, cut at the context length; those that would lose all they teach are left out.

    Args:
        store: All pairs, tokenised.
        order: Positions of those of the epoch.
        context_length: Most tokens of a sequence.
        media: Id of ``<image>``.
    """

    def __init__(self, store: TokenStore, order: Sequence[int], *, context_length: int, media: int) -> None:
        import numpy as np

        self._store, self._context_length, self._media = store, context_length, media
        positions = np.asarray(order, np.int64)
        teaching = store.shapes.first_learned[positions] < context_length
        self.positions = positions[teaching]
        whole = store.shapes.lengths[self.positions]
        self._lengths = np.minimum(whole, context_length)
        self.skipped = int((~teaching).sum())
        truncated = int((whole > context_length).sum())
        if truncated or self.skipped:
            LOG.warning("%d pairs were too long and cut, %d dropped", truncated, self.skipped)

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """See `EpochExamples`."""
        return self._lengths

    def example(self, index: int) -> Example:
        """See `EpochExamples`."""
        whole = self._store.segment(int(self.positions[index])).as_example()
        cut = truncate(whole, self._context_length, media=self._media)
        assert cut is not None, "the constructor left these out"
        return cut


class PairData:
    """Sequences of the rewriter, the same ones in every epoch (a `train.data.TrainingData`).

    Args:
        store: Tokenised pairs.
        context_length: Most tokens of a sequence; longer ones are cut at their end.
        media: Id of ``<image>``.
        seed: Draws the pairs to validate with.
        validation_share: Share of the pairs that is not learned, see `validation`.
    """

    def __init__(
        self, store: TokenStore, *, context_length: int, media: int, seed: int = 0, validation_share: float = 0.0
    ) -> None:
        every = range(len(store))
        held_out = set(Random(f"{seed}:pairs:validation").sample(every, round(validation_share * len(every))))
        cut = partial(PairExamples, store, context_length=context_length, media=media)
        self._learned = cut([i for i in every if i not in held_out])
        self.validation: EpochExamples = cut(sorted(held_out))  # the pairs that are not learned
        self.identity = fingerprint(store.identity, context_length, media, self._learned.positions.tolist())

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
            token_key(tokenizer, "pairs", split, pairs, Path(__file__)),
            lambda: (encode_pair(tokenizer, pair) for pair in pairs_of(pairs, split)),
        )
        return cls(
            store,
            context_length=context_length,
            media=_media(tokenizer),
            seed=seed,
            validation_share=validation_share,
        )

    def epoch(self, epoch: int) -> PairExamples:
        """See `train.data.TrainingData`; `epoch` changes nothing."""
        return self._learned


def _media(tokenizer: Any) -> int:
    return int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
