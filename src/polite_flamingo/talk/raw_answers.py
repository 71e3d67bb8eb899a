"""A terse answer with its question, images and task, checked: what the rewriter is asked about and filters judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.talk.images import own_image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

GENERAL = "general"  # no task in particular: that of the answer's length


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A record whose images are names, and the images."""

    sample: Sample
    pictures: tuple[PILImage, ...]


def checked_answer(item: Mapping[str, Any]) -> RawAnswer:
    """An item, checked.

    Args:
        item: ``question``, ``answer``, and where there are ``images``, ``task`` and ``key``.

    Raises:
        DataError: a text is empty, or there is no such task.
        ImageError: an image cannot be used.
    """
    texts = {}
    for name in ("question", "answer"):
        text = item.get(name)
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"the {name} is empty", value=text, next_step="give a text")
        texts[name] = text
    pictures = tuple(own_image(image) for image in item.get("images") or ())
    turns = (Turn("human", texts["question"], tuple(range(len(pictures)))), Turn("assistant", texts["answer"]))
    names = tuple(map(Image, names_of(pictures)))
    task = _task(str(item.get("task") or GENERAL), bool(pictures))
    return RawAnswer(
        Sample(str(item.get("key") or "") or "one", "talk", "one", "unknown", task, turns, names), pictures
    )


def names_of(pictures: Sequence[PILImage]) -> list[str]:
    """A name for each image."""
    return [f"{number}.png" for number in range(len(pictures))]


def _task(name: str, seen: bool) -> Task:
    if name == GENERAL:
        return Task.VQA if seen else Task.TEXT
    try:
        return Task(name)
    except ValueError:
        raise DataError("no such task", value=name, next_step=did_you_mean(name, [*Task, GENERAL])) from None
