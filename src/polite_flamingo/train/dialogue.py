"""Dialogues of samples (section 4.4): as tokens with a loss mask per turn, and joined when an epoch asks for them.

Only what the assistant says is learned, with the end-of-sequence token that closes every answer. Turns are joined by a
line break. The system message opens a dialogue once. Samples lie as tokens on disk: their sizes decide which of them
make a dialogue (`train.multiturn`), their tokens are read when needed.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.model.tokens import SYSTEM, begin, encode_all, images_last, piece, plain
from polite_flamingo.prompts.templates import IMAGE_TOKEN, human
from polite_flamingo.records import Sample
from polite_flamingo.train.data import IGNORED, EpochExamples, Example, truncate
from polite_flamingo.train.multiturn import DialogueLimits, Layout, Mode, join, lay_out
from polite_flamingo.train.settings import DialogueSettings
from polite_flamingo.train.store import Segment, Shapes, TokenStore

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOG = logging.getLogger(__name__)


def encode_samples(tokenizer: Any, samples: Sequence[Sample]) -> list[Segment]:
    """Encode every turn of the samples; each human turn shows its own images before its text."""
    questions: list[str] = []
    answers: list[str] = []
    for sample in samples:
        for turn in sample.turns:
            if turn.role == "human":
                questions.append(human(plain(tokenizer, turn.text), len(turn.images)))
            else:
                answers.append(plain(tokenizer, turn.text.strip()))
    start = len(begin(tokenizer))
    question_ids = iter([ids[start:] for ids in encode_all(tokenizer, questions)])
    answer_ids = iter(tokenizer(answers, add_special_tokens=False).input_ids if answers else [])
    between = separator(tokenizer)
    return [_segment(sample, question_ids, answer_ids, between, tokenizer.eos_token_id) for sample in samples]


def opening(tokenizer: Any) -> list[int]:
    """Tokens of the beginning of a sequence and the system message."""
    return begin(tokenizer) + piece(tokenizer, SYSTEM)


def separator(tokenizer: Any) -> list[int]:
    """Tokens between an answer and the next human turn."""
    return piece(tokenizer, "\n")


@dataclass(frozen=True, slots=True)
class Packer:
    """How samples become dialogues.

    Args:
        mode: ``paper``, ``pack``, ``fit`` or ``single`` (see `train.multiturn`).
        limits: Bounds of a dialogue.
        opening: Tokens before the first turn.
        separator: Tokens between two samples.
        media: Id of ``<image>``.
    """

    mode: Mode
    limits: DialogueLimits
    opening: tuple[int, ...]
    separator: tuple[int, ...]
    media: int

    @classmethod
    def dialogues(cls, tokenizer: Any, settings: DialogueSettings, *, context_length: int, max_images: int) -> Packer:
        """Dialogues that begin with the system message.

        Args:
            tokenizer: The model's.
            settings: How samples are joined.
            context_length: Most tokens of a dialogue.
            max_images: Most images of a dialogue.

        Raises:
            ConfigError: ``fit`` for a model whose text attends to the image after it (OpenFlamingo 1): its answers see
                the image of the next turn, whatever stands there.
        """
        if settings.mode == "fit" and images_last(tokenizer):
            raise ConfigError(
                "a model that attends to the image after the text cannot be sure to see its own",
                value=settings.mode,
                where="tune.common.multiturn.mode",
                next_step="use paper or pack",
            )
        first, between = tuple(opening(tokenizer)), tuple(separator(tokenizer))
        limits = DialogueLimits(context_length, settings.max_turns, max_images, len(first), len(between))
        return cls(settings.mode, limits, first, between, tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))


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

    @property
    def identity(self) -> str:
        """Content hash of all parts."""
        return "+".join(f"{name}:{store.identity}" for name, store in sorted(self.stores.items()))

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
        seed: Decides what fills the dialogues, where that is drawn.
    """

    def __init__(self, samples: Samples, order: Sequence[int], packer: Packer, seed: str = "") -> None:
        self._samples = samples
        self._packer = packer
        self.layout: Layout = lay_out(packer.mode, order, samples.shapes, packer.limits, seed)
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


def _segment(
    sample: Sample, questions: Iterator[list[int]], answers: Iterator[list[int]], between: list[int], end: int
) -> Segment:
    ids: list[int] = []
    labels: list[int] = []
    images: list[str] = []
    for index, turn in enumerate(sample.turns):
        if turn.role == "human":
            _add(ids, labels, (between if index else []) + next(questions), learned=False)
            images += [sample.images[i].path for i in turn.images]
        else:
            _add(ids, labels, [*next(answers), end], learned=True)
    return Segment(
        sample.id,
        tuple(ids),
        tuple(labels),
        tuple(images),
        len(sample.turns) // 2,
        sample.source,
        bool(sample.turns[0].images),
    )


def _add(ids: list[int], labels: list[int], tokens: Sequence[int], *, learned: bool) -> None:
    ids += tokens
    labels += tokens if learned else [IGNORED] * len(tokens)
