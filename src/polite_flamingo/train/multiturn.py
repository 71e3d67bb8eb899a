"""Multi-turn augmentation (section 4.4, appendix A): several samples become the turns of one dialogue.

This is not packing: later turns may attend to earlier ones. The system message stands first only, and an answer is
never cut to make room. Only a sample too long for the context on its own is cut at its end, and dropped (and counted)
if nothing of an answer would be left. Four ways, each a pure function of the order of the samples, their sizes and a
seed:

- `fill_by_draws` (``paper``): every sample opens one dialogue, and what would be its padding is filled with samples
  drawn at random, with replacement, until one does not fit. A turn without an image that follows one with an image can
  see that image.
- `fill_in_order` (``pack``): samples in random order, as many as fit; the next one opens the next dialogue, so that an
  epoch shows each sample once. What a turn sees is as in ``paper``.
- `best_fit` (``fit``): the samples are shared among as few dialogues as can hold them, so that hardly any padding is
  left. Samples without an image stand before those with one: each turn sees its own image and no other.
- `one_by_one`: no augmentation.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import numpy as np

from polite_flamingo.train.data import IGNORED, Example
from polite_flamingo.train.store import Segment, Shapes

if TYPE_CHECKING:
    import numpy.typing as npt

Mode = Literal["paper", "pack", "fit", "single"]
WINDOW = 16_384  # samples that `best_fit` distributes together
TRIES = 64  # dialogues tried for a sample before it opens a new one
CHUNK = 65_536  # samples whose sizes become Python numbers at a time


@dataclass(frozen=True, slots=True)
class DialogueLimits:
    """Bounds of a dialogue.

    Args:
        context_length: Most tokens.
        max_turns: Most human turns (a sample with more stands alone).
        max_images: Most images (a sample with more stands alone).
        opening: Number of tokens before the first turn (system message).
        separator: Number of tokens between two samples.
    """

    context_length: int
    max_turns: int
    max_images: int
    opening: int = 0
    separator: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Which samples make which dialogue.

    Args:
        order: Positions of samples (int64), dialogue after dialogue.
        bounds: Dialogue d holds ``order[bounds[d]:bounds[d + 1]]`` (int64).
        lengths: Tokens of every dialogue, cut to the context (int32).
        truncated: Number of samples cut at their end.
        skipped: Number of samples dropped, because nothing of an answer would be left.
    """

    order: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    truncated: int
    skipped: int

    def members(self, dialogue: int) -> list[int]:
        """Positions of the samples of a dialogue, in order."""
        return [int(i) for i in self.order[self.bounds[dialogue] : self.bounds[dialogue + 1]]]


def fill_by_draws(order: Sequence[int], shapes: Shapes, limits: DialogueLimits, seed: str) -> Layout:
    """Let every sample open a dialogue and fill it with draws from all of them, until one does not fit."""
    random = Random(seed)
    members: list[int] = []
    bounds = [0]
    pool = np.asarray(order, np.int64)
    lengths, turns, images = (column[pool].tolist() for column in (shapes.lengths, shapes.turns, shapes.images))
    for first in range(len(pool)):
        chosen, length, its_turns, its_images = first, limits.opening, 0, 0
        while True:
            length += lengths[chosen] + (limits.separator if its_turns else 0)
            its_turns += turns[chosen]
            its_images += images[chosen]
            bounded = its_turns <= limits.max_turns and its_images <= limits.max_images
            fits = length <= limits.context_length and bounded
            if fits or len(members) == bounds[-1]:  # the first one stands, however long it is
                members.append(chosen)
            if not fits:
                break
            chosen = random.randrange(len(pool))
        bounds.append(len(members))
    return _layout(pool[members], bounds, shapes, limits)


def fill_in_order(order: Sequence[int], shapes: Shapes, limits: DialogueLimits) -> Layout:
    """Join samples in their order, as many as fit."""
    bounds = [0]
    length, turns, images, held = limits.opening, 0, 0, 0
    for position, (more, its_turns, its_images) in enumerate(_sizes(order, shapes)):
        grown = length + (limits.separator if held else 0) + more
        if held and (
            grown > limits.context_length
            or turns + its_turns > limits.max_turns
            or images + its_images > limits.max_images
        ):
            bounds.append(position)
            turns, images, held = 0, 0, 0
            grown = limits.opening + more
        length, turns, images, held = grown, turns + its_turns, images + its_images, held + 1
    return _layout(np.asarray(order, np.int64), bounds, shapes, limits)


def one_by_one(order: Sequence[int], shapes: Shapes, limits: DialogueLimits) -> Layout:
    """Every sample is an example of its own."""
    return _layout(np.asarray(order, np.int64), range(len(order) + 1), shapes, limits)


def best_fit(order: Sequence[int], shapes: Shapes, limits: DialogueLimits, *, window: int = WINDOW) -> Layout:
    """Distribute the samples of a window over as few dialogues as can be found.

    The longest go first, each to the fullest dialogue that takes it (best when few samples fill a dialogue) or each to
    the emptiest (best when turns or images run out before tokens): what needs fewer dialogues is taken. A sample that
    begins without an image and shows one later stands alone: elsewhere it would see a strange image.
    """
    ordered = np.asarray(order, np.int64)
    dialogues: list[list[int]] = []
    for start in range(0, len(ordered), window):
        samples = ordered[start : start + window].tolist()
        this = _Window.of(samples, shapes, limits)
        shortest = min(this.distribute(0, tight=True), this.distribute(this.fewest, tight=False), key=len)
        for ranks in sorted(shortest, key=min):
            text_first = sorted(ranks, key=lambda rank: (this.sizes[rank][2] > 0, rank))
            dialogues.append([samples[rank] for rank in text_first])
    bounds = np.zeros(len(dialogues) + 1, np.int64)
    np.cumsum([len(dialogue) for dialogue in dialogues], out=bounds[1:])
    flat = np.fromiter((i for dialogue in dialogues for i in dialogue), np.int64, int(bounds[-1]))
    return _layout(flat, bounds, shapes, limits)


LAYOUTS: dict[Mode, Callable[[Sequence[int], Shapes, DialogueLimits], Layout]] = {
    "pack": fill_in_order,
    "fit": best_fit,
    "single": one_by_one,
}


def lay_out(mode: Mode, order: Sequence[int], shapes: Shapes, limits: DialogueLimits, seed: str) -> Layout:
    """Decide which samples make which dialogue.

    Args:
        mode: One of the four ways.
        order: Positions of the epoch's samples.
        shapes: Sizes of all samples.
        limits: Bounds of a dialogue.
        seed: Decides the draws of ``paper``; the other ways draw nothing.
    """
    if mode == "paper":
        return fill_by_draws(order, shapes, limits, seed)
    return LAYOUTS[mode](order, shapes, limits)


def join(segments: Sequence[Segment], opening: Sequence[int], separator: Sequence[int]) -> Example:
    """One dialogue of samples; the opening and the separators are not learned."""
    ids, labels = list(opening), [IGNORED] * len(opening)
    for index, segment in enumerate(segments):
        if index:
            ids += separator
            labels += [IGNORED] * len(separator)
        ids += segment.input_ids
        labels += segment.labels
    return Example(
        "+".join(s.id for s in segments), tuple(ids), tuple(labels), tuple(path for s in segments for path in s.images)
    )


@dataclass(slots=True)
class _Window:
    """Samples to distribute, by rank (their position in the random order)."""

    sizes: list[tuple[int, int, int]]  # tokens with one separator, turns, images
    late: list[bool]  # begins without an image and shows one later
    room: int  # tokens of a dialogue, the opening excluded
    limits: DialogueLimits

    @classmethod
    def of(cls, samples: list[int], shapes: Shapes, limits: DialogueLimits) -> _Window:
        room = limits.context_length - limits.opening + limits.separator
        sizes = [(min(n + limits.separator, room), t, i) for n, t, i in _sizes(samples, shapes)]
        late = (shapes.images[samples] > 0) & ~shapes.image_first[samples]
        return cls(sizes, late.tolist(), room, limits)

    @property
    def fewest(self) -> int:
        """Dialogues that all samples need at least."""
        tokens, turns, images = (sum(column) for column in zip(*self.sizes, strict=True))
        return max(-(-tokens // self.room), -(-turns // self.limits.max_turns), -(-images // self.limits.max_images))

    def distribute(self, dialogues: int, *, tight: bool) -> list[list[int]]:
        """Ranks by dialogue: the longest first, each to the fullest dialogue that takes it or to the emptiest.

        Args:
            dialogues: Number of empty dialogues at the beginning; more are opened where needed.
            tight: To the fullest; False: to the emptiest.
        """
        members: list[list[int]] = [[] for _ in range(dialogues)]
        used = [(0, 0)] * dialogues  # turns and images of every dialogue
        by_room = [(self.room, dialogue) for dialogue in range(dialogues)]  # those that may take images, sorted
        text_only: list[tuple[int, int]] = []  # those with all the images they may have, sorted
        for rank in sorted(range(len(self.sizes)), key=lambda i: (-self.sizes[i][0], i)):
            need, turns, images = self.sizes[rank]
            lists = [by_room] if images else [text_only, by_room]
            target = None if self.late[rank] else self._find(lists, rank, used, tight)
            left, dialogue = (self.room, len(members)) if target is None else target[0].pop(target[1])
            if target is None:
                members.append([])
                used.append((0, 0))
            members[dialogue].append(rank)
            used[dialogue] = (used[dialogue][0] + turns, used[dialogue][1] + images)
            if not self.late[rank] and left > need and used[dialogue][0] < self.limits.max_turns:
                insort(by_room if used[dialogue][1] < self.limits.max_images else text_only, (left - need, dialogue))
        return [ranks for ranks in members if ranks]

    def _find(
        self, lists: list[list[tuple[int, int]]], rank: int, used: list[tuple[int, int]], tight: bool
    ) -> tuple[list[tuple[int, int]], int] | None:
        """The list and the index of the dialogue that takes a sample."""
        need, turns, images = self.sizes[rank]
        best: tuple[list[tuple[int, int]], int] | None = None
        for room in lists:
            first, last = bisect_left(room, (need, -1)), len(room) - 1
            tried = (
                range(first, min(first + TRIES, last + 1)) if tight else range(last, max(first, last - TRIES) - 1, -1)
            )
            for at in tried:
                its_turns, its_images = used[room[at][1]]
                if its_turns + turns <= self.limits.max_turns and its_images + images <= self.limits.max_images:
                    if best is None or (room[at] < best[0][best[1]]) == tight:
                        best = room, at
                    break
        return best


def _sizes(order: Sequence[int], shapes: Shapes) -> Iterator[tuple[int, int, int]]:
    """Tokens, turns and images of samples."""
    for start in range(0, len(order), CHUNK):
        chosen = np.asarray(order[start : start + CHUNK], np.int64)
        yield from zip(
            shapes.lengths[chosen].tolist(), shapes.turns[chosen].tolist(), shapes.images[chosen].tolist(), strict=True
        )


def _layout(
    order: npt.NDArray[np.int64], bounds: Sequence[int] | npt.NDArray[np.int64], shapes: Shapes, limits: DialogueLimits
) -> Layout:
    """Lengths of the dialogues; drops those of which no answer fits."""
    if not len(order):
        return Layout(order, np.zeros(1, np.int64), np.zeros(0, np.int32), 0, 0)
    starts = np.asarray(bounds, np.int64)
    starts = starts[starts < len(order)]
    counts = np.diff(np.append(starts, len(order)))
    whole = np.add.reduceat(shapes.lengths[order].astype(np.int64), starts) + limits.opening
    whole += limits.separator * (counts - 1)
    too_long = whole > limits.context_length  # these hold one sample each
    silent = too_long & (limits.opening + shapes.first_learned[order[starts]] >= limits.context_length)
    kept = ~silent
    return Layout(
        order=order[np.repeat(kept, counts)],
        bounds=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[kept])]),
        lengths=np.minimum(whole[kept], limits.context_length).astype(np.int32),
        truncated=int((too_long & kept).sum()),
        skipped=int(silent.sum()),
    )
