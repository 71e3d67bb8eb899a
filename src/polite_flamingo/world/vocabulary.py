"""The words of the embedded world: what a scene is made of, and how sentences about it are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("zero", "one", "two", "three", "four")

# Colour-shape pairs that appear in the out-of-domain scenes only.
HELD_OUT = frozenset({("purple", "star"), ("green", "square"), ("orange", "triangle"), ("yellow", "circle")})

ENDINGS = (
    " Let me know if you have any other questions!",
    " I hope this helps!",
    " Please let me know if you would like to know more about the image.",
)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene."""

    color: str
    shape: str
    size: str
    position: str

    @property
    def name(self) -> str:
        """Colour and shape, the category name in the COCO files."""
        return f"{self.color} {self.shape}"

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.color, self.shape


Scene = tuple[SceneObject, ...]


def article(words: str) -> str:
    """``a red circle``, ``an orange star``."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def listing(items: Sequence[str]) -> str:
    """``x``, ``x and y``, ``x, y, and z``."""
    if len(items) == 1:
        return items[0]
    if len(items) == 2:
        return f"{items[0]} and {items[1]}"
    return ", ".join(items[:-1]) + f", and {items[-1]}"


def counted(count: int, color: str = "") -> str:
    """``one object``, ``two red objects``."""
    noun = "object" if count == 1 else "objects"
    return f"{NUMBERS[count]} {color} {noun}".replace("  ", " ")


def close(text: str, rng: Random, *, always: bool = False) -> str:
    """`text` with a courteous ending, by default every other time."""
    return text + rng.choice(ENDINGS if always else ("", "", "", *ENDINGS))
