"""Epochs of dialogues that lie as tokens on disk: sizes decide what an epoch holds, tokens are read when needed."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.model.tokens import images_last
from polite_flamingo.prompts.templates import IMAGE_TOKEN
from polite_flamingo.train.collate import Example
from polite_flamingo.train.data import EpochExamples
from polite_flamingo.train.dialogue import opening, separator, truncate
from polite_flamingo.train.multiturn import LAYOUTS, Layout, Limits, Mode, join
from polite_flamingo.train.store import Segment, Shapes, TokenStore

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Packer:
    """How samples become dialogues.

    Args:
        mode: ``paper``, ``fit`` or ``single`` (see `train.multiturn`).
        limits: Bounds of a dialogue.
        opening: Tokens before the first turn.
        separator: Tokens between two samples.
        media: Id of ``<image>``.
    """

    mode: Mode
    limits: Limits
    opening: tuple[int, ...]
    separator: tuple[int, ...]
    media: int

    @classmethod
    def dialogues(cls, tokenizer: Any, mode: Mode, *, context_length: int, max_turns: int, max_images: int) -> Packer:
        """Dialogues that begin with the system message.

        Raises:
            ConfigError: ``fit`` for a model whose text attends to the image after it (OpenFlamingo 1): its answers see
                the image of the next turn, whatever stands there.
        """
        if mode == "fit" and images_last(tokenizer):
            raise ConfigError(
                "a model that attends to the image after the text cannot be sure to see its own",
                value=mode,
                where="tune.multiturn.mode",
                next_step="use paper",
            )
        first, between = tuple(opening(tokenizer)), tuple(separator(tokenizer))
        limits = Limits(context_length, max_turns, max_images, len(first), len(between))
        return cls(mode, limits, first, between, tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    @classmethod
    def whole(cls, tokenizer: Any, *, context_length: int) -> Packer:
        """Every stored sequence is an example as it is, cut at the context length."""
        return cls("single", Limits(context_length, 1, 1), (), (), tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))


class Samples:
    """The samples of several parts under one numbering, part after part.

    Args:
        stores: Tokenised samples by part.
    """

    def __init__(self, stores: Mapping[str, TokenStore]) -> None:
        self.stores = dict(stores)
        self.shapes = Shapes.joined(store.shapes for store in self.stores.values())
        self._ends = list(accumulate(len(store) for store in self.stores.values()))
        self._all = list(self.stores.values())

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1]

    def segment(self, position: int) -> Segment:
        """Read a sample's tokens."""
        part = bisect_right(self._ends, position)
        return self._all[part].segment(position - (self._ends[part - 1] if part else 0))

    def positions(self) -> dict[str, range]:
        """Numbers of the samples of every part."""
        return {
            name: range(end - len(store), end)
            for (name, store), end in zip(self.stores.items(), self._ends, strict=True)
        }


class PackedExamples(EpochExamples):
    """Dialogues of samples in a given order.

    Args:
        samples: All samples.
        order: Those of the epoch.
        packer: How they are joined.
    """

    def __init__(self, samples: Samples, order: Sequence[int], packer: Packer) -> None:
        self._samples = samples
        self._packer = packer
        self.layout: Layout = LAYOUTS[packer.mode](order, samples.shapes, packer.limits)
        if self.truncated or self.skipped:
            LOG.warning("%d samples were too long and cut, %d dropped", self.truncated, self.skipped)

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """See `EpochExamples`."""
        return self.layout.lengths

    @property
    def truncated(self) -> int:
        """Number of samples cut at their end."""
        return self.layout.truncated

    @property
    def skipped(self) -> int:
        """Number of samples dropped, because nothing of an answer would be left."""
        return self.layout.skipped

    def example(self, index: int) -> Example:
        """See `EpochExamples`."""
        packer = self._packer
        segments = [self._samples.segment(position) for position in self.layout.members(index)]
        whole = join(segments, packer.opening, packer.separator)
        cut = truncate(whole, packer.limits.context_length, media=packer.media)
        assert cut is not None, "the layout drops these"
        return cut


def identity_of(samples: Samples, packer: Packer, first: PackedExamples, *settings: object) -> str:
    """Content hash of packed data: the samples, the way they are packed, and the first epoch as it came out."""
    digest = hashlib.sha256(repr((sorted(samples.stores), settings, asdict(packer))).encode())
    for store in samples.stores.values():
        digest.update(store.identity.encode())
    for array in (first.layout.order, first.layout.bounds):
        digest.update(array.tobytes())
    return digest.hexdigest()[:24]
