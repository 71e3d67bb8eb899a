"""What a training learns from: examples, the epochs they make, and what draws the epochs.

An epoch is a sequence of examples that are decoded when they are asked for. `TrainingData` draws the epochs. A fixed
list of examples is training data too (`as_training_data`).
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORED = -100  # label of a token without a loss


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised training sequence.

    Args:
        id: Names the sample, or the samples joined by "+".
        input_ids: Token ids.
        labels: The token's id where it is to be learned, -100 elsewhere; as long as `input_ids`.
        images: Path of the image of each ``<image>`` token, in order.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    images: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def supervised(self) -> int:
        """Number of tokens with a loss (the first token is never predicted)."""
        return sum(label != IGNORED for label in self.labels[1:])


def truncate(example: Example, context_length: int, *, media: int) -> Example | None:
    """Cut an over-long example at its end; None when no learned token would be left."""
    if len(example) <= context_length:
        return example
    ids, labels = example.input_ids[:context_length], example.labels[:context_length]
    cut = Example(example.id, ids, labels, example.images[: ids.count(media)])
    return cut if cut.supervised else None


class EpochExamples(Sequence[Example]):
    """The examples of one epoch, in the order the data was drawn; the loop decides the order of the steps.

    `lengths` is known at once, for every example; the example itself is decoded by ``[i]``. Reading is safe in
    threads and cheap in processes that were forked.
    """

    @property
    @abstractmethod
    def lengths(self) -> npt.NDArray[np.int32]:
        """Number of tokens of every example, shape (n,)."""

    @abstractmethod
    def example(self, index: int) -> Example:
        """Decode example `index`, 0 <= index < len(self)."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Decode one example, or those of a slice."""
        if isinstance(index, slice):
            return [self.example(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.example(index % len(self))

    def __iter__(self) -> Iterator[Example]:
        """Decode one example after the other."""
        return (self.example(i) for i in range(len(self)))

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.lengths)


class TrainingData(Protocol):
    """Training data of a run: a pure function of the epoch."""

    @property
    def identity(self) -> str:
        """Content hash of everything that decides the examples of any epoch (texts, tokenizer, limits, seed)."""
        ...

    def epoch(self, epoch: int) -> EpochExamples:
        """The examples of an epoch; the same ones whenever and in whichever process it is called."""
        ...


class HeldOutData(TrainingData, Protocol):
    """Training data of which a share is held out."""

    @property
    def validation(self) -> EpochExamples:
        """What is never drawn, to validate with."""
        ...


class FixedExamples(EpochExamples):
    """A list of examples, the same in every epoch. Also its own `TrainingData`.

    Args:
        examples: All of them, in memory.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        import numpy as np

        self._examples = examples
        self._lengths = np.fromiter((len(e) for e in examples), np.int32, len(examples))

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """See `EpochExamples`."""
        return self._lengths

    def example(self, index: int) -> Example:
        """See `EpochExamples`."""
        return self._examples[index]

    @property
    def identity(self) -> str:
        """See `TrainingData`."""
        digest = hashlib.sha256()
        for example in self._examples:
            digest.update(repr((example.id, example.input_ids, example.labels, example.images)).encode())
        return digest.hexdigest()[:24]

    def epoch(self, epoch: int) -> FixedExamples:
        """See `TrainingData`; `epoch` changes nothing."""
        return self


def as_training_data(examples: Sequence[Example] | TrainingData) -> TrainingData:
    """A list becomes training data of which every epoch is the same; training data stays what it is."""
    return FixedExamples(examples) if isinstance(examples, Sequence) else examples
