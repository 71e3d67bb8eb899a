"""ScienceQA: school questions with choices, a lecture and a solution; about half have a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need, single_turn
from polite_flamingo.sources.forms.answers import read_choices, with_reasons
from polite_flamingo.sources.forms.files import find_one, read_rows, relative

OWN_SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}  # by the records
FOLDERS = ("", "data/scienceqa/")


class ScienceQa:
    """ScienceQA; hint, question and choices, raw answer "Answer: …" with lecture and solution (Table 6, 2307.01003).

    A question without a picture becomes a text sample (the paper used those with one). Whichever of lecture and
    solution is blank is left out.
    """

    name = "scienceqa"
    tasks = frozenset({Task.VQA, Task.TEXT})
    licence = "CC BY-NC-SA 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``problems.json`` (also gzipped); images are ``images/<split>/<id>/image.png``.

        The questions of a `split` are those that ``pid_splits.json`` lists (the official way, needed for ``minival``
        and ``minitest``) or, where that file is absent, those whose record names it.
        """
        file = find_one(root, folder, *(f"{base}problems*.json{gz}" for base in FOLDERS for gz in ("", ".gz")))
        where, base = relative(root, file), relative(root, file.parent)
        listed = _ids_of_split(file.with_name("pid_splits.json"), split)
        seen = set()
        for name, record in read_rows(file):
            if listed is not None:
                if name not in listed:
                    continue
                seen.add(name)
            elif isinstance(record, dict) and (named := record.get("split")) not in OWN_SPLITS[split]:
                if named not in OWN_SPLITS["trainval"] + OWN_SPLITS["test"]:
                    yield Reject(
                        self.name, where, name, "'split' is none of the official ones", str(named)[:VALUE_LENGTH]
                    )
                continue
            yield attempt(self.name, where, name, self._sample, base, split, name, record)
        for name in sorted((listed or set()) - seen):
            yield Reject(self.name, where, name, "question of 'pid_splits.json' is not in the file")

    def _sample(self, base: str, split: str, name: str, record: Any) -> Sample:
        choices, answer = read_choices(record, "answer")
        lines = [record["hint"].strip()] if isinstance(record.get("hint"), str) and record["hint"].strip() else []
        lines += [need(record, "question", str)]
        lines += [f"({letter}) {choice}" for letter, choice in zip(_letters(len(choices)), choices, strict=True)]
        reasons = [text for key in ("lecture", "solution") if (text := str(record.get(key) or "").strip())]
        images: tuple[Image, ...] = ()
        if record.get("image") is not None:
            images = (below(f"{base}/images/{need(record, 'split', str)}", f"{name}/{need(record, 'image', str)}"),)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{name}",
            Task.VQA if images else Task.TEXT,
            question="\n".join(lines),
            answer=with_reasons(answer, ["\n".join(reasons)] if reasons else []),
            images=images,
            extras={
                "choices": choices,
                "short_answer": answer,
                "answers": [answer],
                "rationales": reasons,
                "question_type": str(record.get("topic") or ""),
            },
        )


def _ids_of_split(file: Path, split: str) -> set[str] | None:
    if not file.is_file():
        if split in OWN_SPLITS:
            return None
        raise DataError("the split is named by 'pid_splits.json' alone", value=split, where=file, next_step="fetch it")
    splits = dict(read_rows(file))
    names = splits.get(split)
    if not isinstance(names, list):
        hint = f"use one of {', '.join(splits)}"
        raise DataError("file does not list the split", value=split, where=file, next_step=hint)
    return {str(name) for name in names}


def _letters(count: int) -> list[str]:
    return [chr(ord("A") + index) if index < 26 else str(index + 1) for index in range(count)]
