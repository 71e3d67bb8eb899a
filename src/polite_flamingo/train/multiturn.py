"""Multi-turn augmentation (section 4.4): several samples become the turns of one dialogue.

This is not packing: later turns may attend to earlier ones. The system message stands first only, every turn shows its
own images, and an answer is never cut to make room: a sample that does not fit opens the next dialogue. Only a sample
too long for the context on its own is cut at its end, and dropped (and counted) if nothing of an answer would be left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from polite_flamingo.train.collate import IGNORED, Example
from polite_flamingo.train.dialogue import Segment, truncate


@dataclass(slots=True)
class Packing:
    """Dialogues made of segments, and what happened to the over-long ones."""

    examples: list[Example] = field(default_factory=list)
    truncated: int = 0
    skipped: int = 0


def join_turns(
    segments: Iterable[Segment],
    *,
    opening: list[int],
    separator: list[int],
    media: int,
    context_length: int,
    max_turns: int,
    max_images: int,
) -> Packing:
    """Join segments in their order, as many as fit.

    Args:
        segments: The samples of one epoch, already shuffled.
        opening: Tokens before the first turn (system message).
        separator: Tokens between two segments.
        media: Id of ``<image>``.
        context_length: Most tokens of a dialogue.
        max_turns: Most human turns of a dialogue (a sample with more stands alone).
        max_images: Most images of a dialogue (a sample with more stands alone).
    """
    packing = Packing()
    group: list[Segment] = []
    length = len(opening)
    for segment in segments:
        grown = length + (len(separator) if group else 0) + len(segment.input_ids)
        turns = sum(s.turns for s in group) + segment.turns
        images = sum(len(s.images) for s in group) + len(segment.images)
        if group and (grown > context_length or turns > max_turns or images > max_images):
            _close(packing, group, opening, separator, media, context_length)
            group, length = [], len(opening)
            grown = length + len(segment.input_ids)
        group.append(segment)
        length = grown
    if group:
        _close(packing, group, opening, separator, media, context_length)
    return packing


def _close(
    packing: Packing, group: list[Segment], opening: list[int], separator: list[int], media: int, context_length: int
) -> None:
    ids, labels = list(opening), [IGNORED] * len(opening)
    for index, segment in enumerate(group):
        if index:
            ids += separator
            labels += [IGNORED] * len(separator)
        ids += segment.input_ids
        labels += segment.labels
    whole = Example(
        "+".join(s.id for s in group), tuple(ids), tuple(labels), tuple(path for s in group for path in s.images)
    )
    example = truncate(whole, context_length, media=media)
    if example is None:
        packing.skipped += 1
        return
    packing.truncated += len(example) < len(whole)
    packing.examples.append(example)
