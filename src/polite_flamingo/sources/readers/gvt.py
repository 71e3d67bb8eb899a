"""GVT bench: how many of these are in the image, and is there one at all?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.coco import find_image
from polite_flamingo.sources.forms.files import find_one, read_items, relative

KINDS = {"oc": "count", "mci": "yes/no"}
VCR = "vcr"


class Gvt:
    """GVT bench on COCO val2017 and VCR; counts are digits, the other answers "Yes." and "No." (section 5, evaluation).

    Questions are as in the files, where those on VCR often read "Does … exis in the image?".
    """

    name = "gvt"
    tasks = frozenset({Task.VQA})
    licence = "research, non-commercial"
    siblings = ("coco", VCR)

    def read(
        self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco", vcr: str = VCR
    ) -> Iterator[Sample | Reject]:
        """Read ``[GVTBench/]<split>.json``; `split` is ``coco_oc``, ``coco_mci``, ``vcr_oc`` or ``vcr_mci``.

        Images are looked for in `coco` by number, in ``vcr1images`` of `vcr` by name.
        """
        file = find_one(root, folder, f"{split}.json", f"GVTBench/{split}.json")
        where = relative(root, file)
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, root, coco, vcr, split, row, record)

    def _sample(self, root: Path, coco: str, vcr: str, split: str, row: int, record: Any) -> Sample:
        answer = need(record, "text_out", str)
        if split.startswith(VCR):
            image = below(f"{vcr}/vcr1images", need(record, "image_id", str))
        else:
            image = Image(find_image(root, (coco,), "val2017", need(record, "image_id", int)))
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{row}",
            Task.VQA,
            question=need(record, "text_in", str),
            answer=answer,
            images=(image,),
            extras={"answers": [answer], "question_type": KINDS.get(split.rpartition("_")[2])},
        )
