"""GRiD-3D: questions on relative directions in rendered scenes."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, need_texts, single_turn
from polite_flamingo.sources.forms.files import find_one, read_items, relative

SMALL = "_small"


class Grid3d:
    """GRiD-3D, one sample per question of the split, in the order of ``questions.json`` (section 5, evaluation).

    Questions come as lists of words and are put together. Memory holds the numbers of the split's questions and the
    paths of the images, not the questions.
    """

    name = "grid3d"
    tasks = frozenset({Task.VQA})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``questions.json`` and ``<split>_idxs.json``; images are any ``<number>.png`` below the folder.

        Splits are ``train``, ``val``, ``test`` and ``train_small`` (``train_idxs_small.json``).
        """
        questions = find_one(root, folder, "questions.json", "*/questions.json")
        stem = f"{split.removesuffix(SMALL)}_idxs{SMALL}" if split.endswith(SMALL) else f"{split}_idxs"
        listing = questions.with_name(f"{stem}.json")
        numbers = _numbers(listing)
        images = {
            int(path.stem): path.relative_to(root).as_posix()
            for path in sorted(questions.parent.glob("**/*.png"))
            if path.stem.isdecimal()
        }
        where, base, count = relative(root, questions), relative(root, questions.parent), 0
        remaining = iter(numbers)
        number = next(remaining, None)
        for row, record in enumerate(read_items(questions)):
            if number is None:
                break
            if row == number:
                number = next(remaining, None)
                count += 1
                yield attempt(self.name, where, row, self._sample, images, f"{base}/images", split, row, record)
        for missing in numbers[count:]:
            yield Reject(self.name, relative(root, listing), str(missing), "number of no question", str(missing))

    def _sample(self, images: dict[int, str], base: str, split: str, row: int, record: Any) -> Sample:
        number, answer = need(record, "img_idx", int), need(record, "answer", str)
        text = " ".join(need_texts(record, "question"))
        question = re.sub(r"\s+([?.,;:!])", r"\1", text)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{row}",
            Task.VQA,
            question=question[:1].upper() + question[1:],
            answer=answer,
            images=(Image(images.get(number, f"{base}/{number}.png")),),
            extras={"answers": [answer], "question_type": record.get("task")},
        )


def _numbers(listing: Path) -> array[int]:
    """The numbers of a split's questions, rising."""
    values = read_json(listing)
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise DataError("file is not a list of question numbers", where=listing, next_step="fetch it again")
    return array("q", sorted(set(values)))
