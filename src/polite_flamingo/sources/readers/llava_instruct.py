"""LLaVA-Instruct: GPT-4 dialogues, detailed descriptions and complex reasoning on COCO images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need, reject_other_media
from polite_flamingo.sources.forms.coco import find_image, image_number, read_context
from polite_flamingo.sources.forms.detection import Box
from polite_flamingo.sources.forms.files import find_all, read_items, relative

KINDS = {"conversation": Task.DIALOGUE, "detail": Task.DETAIL, "complex_reasoning": Task.REASONING}
MIXED = "llava_instruct"  # the three in one file, which does not say what is what: all of it is taken for dialogue
IMAGE_TAG = "<image>"
ROLES = {"human": "human", "gpt": "assistant"}
Context = Mapping[int, tuple[list[str], list[Box]]]


class LlavaInstruct:
    """LLaVA-Instruct, the high-quality responses of the paper (section 3.2).

    Detailed descriptions carry ``captions`` and ``boxes`` of their image where a COCO folder has them: the raw material
    of the captions-and-boxes distortion (section 3.1.3). A mixed file (``llava_instruct_150k.json``, ``…_80k.json``)
    repeats the three and is read only where none of them is there.
    """

    name = "llava_instruct"
    tasks = frozenset(KINDS.values())
    licence = "CC BY-NC 4.0 and OpenAI terms of use"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read whichever of ``conversation_*.json``, ``detail_*.json``, ``complex_reasoning_*.json`` are there.

        The dataset has no splits; `split` is a label. ``image`` may be a list. Images, captions and boxes are looked
        for in `coco`.
        """
        apart = any(any((root / folder).glob(f"{kind}_*.json")) for kind in KINDS)
        mixed = sorted((root / folder).glob(f"{MIXED}_*.json"))[:1]  # 150k, of which 80k is a selection
        patterns = [path.name for path in mixed] if mixed and not apart else [f"{kind}_*.json" for kind in KINDS]
        for file in find_all(root, folder, *patterns):
            kind = next((kind for kind in KINDS if file.name.startswith(kind)), MIXED)
            context = self._context(root, coco, file) if kind == "detail" else {}
            where = relative(root, file)
            seen: Counter[str] = Counter()
            for row, record in enumerate(read_items(file)):
                yield attempt(self.name, where, row, self._sample, root, coco, split, kind, record, seen, context)

    def _context(self, root: Path, coco: str, file: Path) -> Context:
        names = (record.get("image") for record in read_items(file) if isinstance(record, dict))
        numbers = {image_number(name) for name in names if isinstance(name, str)}
        return read_context(root, coco, {number for number in numbers if number is not None})

    def _image(self, root: Path, coco: str, name: Any) -> Image:
        """A COCO image by its number, any other file by its path below the data root."""
        if not isinstance(name, str):
            raise DataError("image is no file name", value=name)
        image = Image(name)
        number = image_number(name)
        return image if number is None else Image(find_image(root, (coco,), "train2014", number))

    def _sample(
        self,
        root: Path,
        coco: str,
        split: str,
        kind: str,
        record: Any,
        seen: Counter[str],
        context: Context,
    ) -> Sample:
        reject_other_media(record)
        official = need(record, "id", str)
        seen[official] += 1  # ids repeat within a file
        suffix = f"-{seen[official]}" if seen[official] > 1 else ""
        several = isinstance(record, dict) and isinstance(record.get("image"), list)
        names: list[Any] = need(record, "image", list) if several else [need(record, "image", str)]
        images = tuple(self._image(root, coco, name) for name in names)
        number = image_number(names[0]) if len(names) == 1 else None
        turns = []
        for index, turn in enumerate(need(record, "conversations", list)):
            role = ROLES.get(need(turn, "from", str))
            if role is None:
                raise DataError("turn is neither of 'human' nor of 'gpt'", value=turn["from"])
            text = need(turn, "value", str).replace(IMAGE_TAG, "").strip()
            turns.append(Turn(role, text, tuple(range(len(images))) if index == 0 else ()))
        captions, boxes = context.get(number, ([], [])) if number is not None else ([], [])
        return Sample(
            id=f"{self.name}/{split}/{kind}-{official}{suffix}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=KINDS.get(kind, Task.DIALOGUE),
            turns=tuple(turns),
            images=images,
            extras={"captions": captions, "boxes": boxes} if captions else {},
        )
