"""Questions with short answers and, where people wrote them, the same answers as full sentences.

What the judges learn and are measured with: `nli_texts` and `reward_texts` make their examples of these.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from polite_flamingo.errors import DataError
from polite_flamingo.sources.photographs import Part, coco_name, part_of

SLOT = "[answer]"  # stands for the short answer in a sentence
MOST_ITEMS = 3  # of an answer that is a list
AGREED = 5  # of ten people gave the same answer

_BRACKETS = re.compile(r"^(.*?)\[(.*)\](.*)$")
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its right answer.

    Args:
        source: Data set.
        key: File name of the photograph, or the question where there is none: decides the part.
        question: As asked.
        answer: The short answer.
        sentences: The answer as a sentence, with `SLOT` in place of the short answer.
        reasons: Clauses that explain the answer.
        accepted: Every answer that somebody gave, lower case.
    """

    source: str
    key: str
    question: str
    answer: str
    sentences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()

    @property
    def part(self) -> Part:
        """Whether it is trained on."""
        return part_of(self.key)

    @property
    def sort(self) -> str:
        """Answers of one sort are of one type: a wrong one of the same sort looks as a right one does."""
        answer = self.answer.lower()
        if answer in ("yes", "no"):
            return "yes/no"
        if _NUMBER.fullmatch(answer):
            return f"{self.source}: number"
        return f"{self.source}: {' '.join(self.question.lower().split()[:2])}"


def read_answered(root: Path) -> list[Answered]:
    """Every question below ``photos/`` of a data root, in a fixed order.

    Raises:
        DataError: none of the data sets is there.
    """
    photos = root / "photos"
    found = [
        *_vqa(photos / "vqa_yesno" / "vaq2.0.jsonl"),
        *_vqa_x(photos / "vqa_x" / "vqaX.json.gz"),
        *_okvqa(photos / "okvqa"),
        *_aokvqa(photos / "aokvqa" / "aokvqa_v1p0_val_subset.json"),
        *_daquar(photos / "daquar" / "qa.jsonl"),
        *_knowledge(photos / "verbalised_answers"),
        *_dialogue(photos / "verbalised_answers" / "qadialog_votes.jsonl.gz"),
    ]
    if not found:
        raise DataError(
            "no questions with answers found", where=photos, next_step="name the folder that holds photos/: --data-root"
        )
    return found


def kit_root(folder: Path) -> Path:
    """The folder that holds ``photos/``; that folder itself may be named too."""
    return folder.parent if folder.name == "photos" else folder


def open_text(path: Path) -> TextIO:
    """A text file, compressed or not."""
    return gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines or CSV file; none where it is absent."""
    if path.is_file():
        with open_text(path) as file:
            if ".csv" in path.suffixes:
                yield from csv.DictReader(file)
            else:
                yield from map(json.loads, file)


def read_whole(path: Path) -> Any:
    """A JSON file; an empty list where it is absent."""
    if not path.is_file():
        return []
    with open_text(path) as file:
        return json.load(file)


def fit_slot(text: str, answer: str) -> str | None:
    """`text` with `SLOT` in place of `answer`; None where it is not there as whole words."""
    pattern = re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)", re.IGNORECASE)
    filled, count = pattern.subn(lambda _: SLOT, text, count=1)
    return filled if count else None


def _vqa(path: Path) -> Iterator[Answered]:
    for row in read_rows(path):
        yield Answered("vqa", row["image"], row["question"], row["answer"])


def _vqa_x(path: Path) -> Iterator[Answered]:
    for row in dict(read_whole(path)).values():
        given = Counter(answer["answer"].lower() for answer in row["answers"])
        answer, count = given.most_common(1)[0]
        if count >= AGREED:
            yield Answered(
                "vqa_x",
                row["image_name"],
                row["question"],
                answer,
                reasons=tuple(dict.fromkeys(row["explanation"])),
                accepted=frozenset(given),
            )


def _okvqa(folder: Path) -> Iterator[Answered]:
    for row in read_whole(folder / "okvqa_val_soft_answers.json"):
        best = max(row["label"], key=row["label"].get)
        if row["label"][best] >= 1:
            accepted = frozenset(map(str.lower, row["label"]))
            yield Answered("okvqa", f"{row['img_id']}.jpg", row["sent"], best, accepted=accepted)


def _aokvqa(path: Path) -> Iterator[Answered]:
    for row in read_whole(path):
        answer = row["choices"][row["correct_choice_idx"]]
        accepted = frozenset(map(str.lower, row["direct_answers"]))
        reasons = tuple(row["rationales"])
        yield Answered("aokvqa", coco_name(row["image_id"]), row["question"], answer, (), reasons, accepted)


def _daquar(path: Path) -> Iterator[Answered]:
    for row in read_rows(path):
        yield Answered("daquar", row["image"], row["question"], row["answer"])


def _knowledge(folder: Path) -> Iterator[Answered]:
    """VQuAnDa, and ParaQA's paraphrases of its answers."""
    rows = list(read_whole(folder / "vquanda_train.json.gz"))
    asked = {row["uid"]: row["question"] for row in rows}
    said: dict[str, dict[str, list[str]]] = {}
    for row in [*rows, *read_whole(folder / "paraqa.json.gz")]:
        for name, text in row.items():
            if name.startswith("verbalized_answer") and (match := _BRACKETS.match(" ".join(text.split()))):
                answers = said.setdefault(row["uid"], {})
                answers.setdefault(_listed(match[2]), []).append(f"{match[1]}{SLOT}{match[3]}")
        asked.setdefault(row["uid"], row["question"])
    for uid, answers in said.items():
        named = [answer for answer in answers if answer and answer != "answer"]
        if (
            named
        ):  # a paraphrase may have changed the names inside the brackets: the sentences fit, the first name holds
            sentences = tuple(dict.fromkeys(sentence for own in answers.values() for sentence in own))
            yield Answered("vquanda", asked[uid], asked[uid], named[0], sentences)


def _listed(text: str) -> str:
    items = [item.strip() for item in text.split(",")]
    return ", ".join([item for item in items if item and item != "*"][:MOST_ITEMS])


def _dialogue(path: Path) -> Iterator[Answered]:
    for row in read_rows(path):
        filled = (fit_slot(response["text"], row["answer"]) for response in row["responses"])
        sentences = tuple(dict.fromkeys(text for text in filled if text and text != SLOT))
        if sentences:
            yield Answered("qadialog", row["question"], row["question"], row["answer"], sentences)
