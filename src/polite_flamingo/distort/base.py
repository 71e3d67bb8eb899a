"""What the three distortion strategies have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from polite_flamingo.records import Image, Sample


@dataclass(frozen=True, slots=True)
class Response:
    """One good answer of a sample: the `index`-th assistant turn, counted from 0."""

    sample: Sample
    index: int

    @property
    def id(self) -> str:
        """Sample id and turn, ``source/split/id#0``."""
        return f"{self.sample.id}#{self.index}"

    @property
    def instruction(self) -> str:
        """The question this turn answers."""
        return self.sample.turns[2 * self.index].text

    @property
    def text(self) -> str:
        """The answer."""
        return self.sample.turns[2 * self.index + 1].text

    @property
    def images(self) -> tuple[Image, ...]:
        """The images shown so far in the dialogue, in order."""
        shown = {i: None for turn in self.sample.turns[: 2 * self.index + 1] for i in turn.images}
        return tuple(self.sample.images[i] for i in shown)


def responses_of(sample: Sample) -> list[Response]:
    """Every assistant turn of a dialogue."""
    return [Response(sample, index) for index in range(len(sample.turns) // 2)]


@dataclass(frozen=True, slots=True)
class Draft:
    """A distorted answer and the command that shaped it (empty: none)."""

    text: str
    command: str = ""


class Distortion(Protocol):
    """A way to make good answers look like raw annotations."""

    @property
    def name(self) -> str:
        """Strategy name as recorded in the pairs."""

    def applies(self, response: Response) -> bool:
        """True where the strategy can be used at all."""

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        """Distort each response with its own source of randomness; a result depends on nothing else."""
