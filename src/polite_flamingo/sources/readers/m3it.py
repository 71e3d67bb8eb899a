"""M3IT: forty data sets as instructions, their images inside (arXiv 2306.04387); its reward is in Figure 6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import draw_request
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, reject_other_media, single_turn
from polite_flamingo.sources.forms.files import find_all, read_items, relative
from polite_flamingo.sources.forms.interchange import as_list
from polite_flamingo.sources.forms.pictures import Pictures, from_base64
from polite_flamingo.sources.forms.rows import read_rows

INSTRUCTIONS = "instructions.json"  # beside the records: a task's wordings, for those that bring none along


class M3it:
    """M3IT, one sample per record; a line holds its images, which are written to ``derived/`` of the data root.

    Records are ``{instruction, inputs, image_base64_str, outputs, meta}``. What is asked is the instruction and, below
    it, the inputs. Video tasks have several images, the frames in their order.
    """

    name = "m3it"
    tasks = frozenset({Task.DIALOGUE, Task.TEXT})
    licence = "of each data set, as its original's (M3IT's card)"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``<split>.jsonl`` of every data set below `folder`, e.g. ``data/captioning/coco/train.jsonl``.

        Of several files of a data set (``train.jsonl``, ``train_2023-10-08.jsonl``) the latest is read: it has the same
        records, rephrased.

        Raises:
            DataError: also when the data root is read-only.
        """
        pictures = Pictures(root, folder)
        latest = {file.parent: file for file in find_all(root, folder, f"**/{split}.jsonl", f"**/{split}_*.jsonl")}
        for file in latest.values():
            wordings = _wordings(file.with_name(INSTRUCTIONS))
            where = relative(root, file)
            name = f"{self.name}/{split}/{relative(root, file.parent)}"
            for number, record in read_rows(self.name, root, file):
                if isinstance(record, Reject):
                    yield record
                    continue
                sample_id = f"{name}-{number}"
                yield attempt(
                    self.name, where, number, self._sample, pictures, split, sample_id, wordings, record, seed
                )
                if pictures.problem is not None:
                    raise pictures.problem

    def _sample(
        self, pictures: Pictures, split: str, sample_id: str, wordings: Sequence[str], record: Any, seed: int
    ) -> Sample:
        reject_other_media(record)
        outputs = record.get("outputs") if isinstance(record, dict) else None
        answer = need(
            {**record, "outputs": outputs[0]} if isinstance(outputs, list) and outputs else record, "outputs", str
        )
        asked = [text for key in ("instruction", "inputs") if (text := _text(record, key))]
        if not _text(record, "instruction") and wordings:
            asked.insert(0, draw_request(wordings, seed=seed, sample_id=sample_id))
        if not asked:
            raise DataError("record asks nothing", value=sorted(record))
        images = [pictures.locate({"bytes": from_base64(text)}) for text in as_list(record.get("image_base64_str"))]
        meta = record.get("meta")
        return single_turn(
            self,
            split,
            sample_id,
            Task.DIALOGUE if images else Task.TEXT,
            question="\n".join(asked),
            answer=answer,
            images=images,
            extras={"meta": meta} if isinstance(meta, dict) and meta else {},
        )


def _text(record: Any, key: str) -> str:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{key!r} is not of type str", value=value)
    return (value or "").strip()


def _wordings(file: Path) -> list[str]:
    return (
        [text.strip() for text in read_items(file) if isinstance(text, str) and text.strip()] if file.is_file() else []
    )
