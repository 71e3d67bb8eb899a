"""Files of answers in the forms they are published in: which question each record answers, and with what words.

JSON Lines with ``id`` or ``question_id`` and ``answer`` or ``text`` (LLaVA, OwlEval, POPE), sample logs of lmms-eval,
COCO's and VQA's lists of results, MM-Vet's objects of answers and of grades, ScienceQA's results, a table, answers of
this pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.forms import texts
from polite_flamingo.benchmarks.records import Broken, read_pairs
from polite_flamingo.errors import ConfigError

SAID = (  # what a model said; those before ``answer`` are never the truth
    "rewritten",
    "prediction",
    "predicted",
    "pred_answer",
    "pred",
    "model_answer",
    "model_output",
    "response",
    "filtered_resps",
    "resps",
    "generated_text",
    "output",
    "outputs",
    "multiple_choice",
    "direct_answer",
    "answer",
    "text",
    "caption",
)
NAMED = (
    "question_id",
    "questionId",
    "questionid",
    "qid",
    "id",
    "sample_id",
    "uid",
    "image_id",
    "image",
    "imgname",
    "index",
    "doc_id",
)
ASKED = ("question", "prompt", "query", "instruction", "input")
TRUTH = ("target", "gt_answers", "gt_answer", "ground_truth", "answers", "gt", "label")
GRADED = re.compile(r"_[^_]+-grade-\d+runs$")  # how MM-Vet's evaluator names its files
PICTURED = ("image", "image_id", "img_id", "imgname", "image_file", "image_path")


@dataclass(frozen=True, slots=True)
class SaidAnswer:
    """One record of a file of answers.

    Attributes:
        ids: What the record names its question by, the likeliest first; none where it only has a place.
        text: What the model said; None: the record holds no answer.
        question: The words it was asked with, if the record has them.
        image: Name of its image, if any.
        group: Category that the record tells, or MM-Vet's capabilities, comma between them.
        truth: Annotated answers that the record has beside the model's.
        grades: Marks from 0 to 1 that the record has of each grading, as MM-Vet's evaluator and lmms-eval write them.
        direct: Of A-OKVQA's predictions: the direct answer, beside the choice in `text`.
    """

    ids: tuple[str, ...]
    text: str | None
    question: str = ""
    image: str = ""
    group: str = ""
    truth: tuple[str, ...] = ()
    grades: tuple[float, ...] = ()
    direct: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the record holds neither an answer nor a grade."""
        return self.text is None and not self.grades


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file of one model's answers.

    Attributes:
        model: Name of the model; files of the same name and set are its seeds.
        path: The file, or a folder of shards.
    """

    model: str
    path: Path

    def answers(self, broken: Broken) -> Iterator[SaidAnswer]:
        """Stream the records.

        Args:
            broken: Gets the lines that are no JSON.

        Raises:
            DataError: the file cannot be read, or holds no record.
        """
        return (said(name, record) for name, record in read_pairs(self.path, broken))


def said(name: str, record: Any) -> SaidAnswer:
    """The answer of one record.

    Args:
        name: Its key in the file, or ``#`` and its place.
        record: As the file has it.
    """
    if not isinstance(record, Mapping):
        return SaidAnswer(() if name.startswith("#") else (name,), _text(record))
    nested = record.get("doc")
    whole = {**nested, **record} if isinstance(nested, Mapping) else dict(record)
    ids = [str(whole[key]) for key in NAMED if isinstance(whole.get(key), str | int | float)]
    for value in whole.values():  # lmms-eval: metrics that name their question
        if isinstance(value, Mapping) and isinstance(value.get("question_id"), str | int):
            ids.insert(0, str(value["question_id"]))
    return SaidAnswer(
        ids=tuple(dict.fromkeys(ids or ([] if name.startswith("#") else [name]))),
        text=next((text for key in SAID if key in record and (text := _text(record[key])) is not None), None),
        question=next((text for key in ASKED if (text := _question(whole.get(key)))), ""),
        image=next((str(whole[key]) for key in PICTURED if isinstance(whole.get(key), str | int)), ""),
        group=next((_group(value) for key in ("category", "capability") if (value := whole.get(key))), ""),
        truth=next((texts(whole[key]) for key in TRUTH if isinstance(whole.get(key), str | int | float | list)), ()),
        grades=_grades(record.get("score")) or _grades(_nested(record.get("gpt_eval_score")).get("score")),
        direct=_text(record.get("direct_answer")),
    )


def parse_files(given: Sequence[str]) -> list[AnswerFile]:
    """Files as they stand on the command line: ``FILE`` or ``MODEL=FILE``.

    Raises:
        ConfigError: a file is not there.
    """
    files = []
    for text in given:
        model, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            model, path = "", text
        if not Path(path).exists():
            raise ConfigError("file of answers does not exist", value=path, where="FILE", next_step="check the path")
        files.append(AnswerFile(model or _name(Path(path)), Path(path)))
    names = [file.model for file in files if not _is_graded(file.path)]
    return [
        AnswerFile(f"{file.path.absolute().parent.name}/{file.model}", file.path)
        if names.count(file.model) > 1 and not _is_graded(file.path) and f"{file.model}={file.path}" not in given
        else file
        for file in files
    ]


def _name(path: Path) -> str:
    stem = path.name
    for ending in (".gz", ".jsonl", ".json", ".csv", ".tsv"):
        stem = stem.removesuffix(ending)
    return GRADED.sub("", stem)


def _is_graded(path: Path) -> bool:
    """Whether a file is one of MM-Vet's grades, by its name; its model's answers may stand beside it."""
    return GRADED.search(path.name.split(".json")[0]) is not None


def _group(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _nested(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _grades(value: Any) -> tuple[float, ...]:
    """Marks of a list of them, or of one; none where one is no number from 0 to 1."""
    try:
        marks = tuple(float(one) for one in (value if isinstance(value, list) else [value]))
    except (TypeError, ValueError):
        return ()
    return marks if all(0.0 <= mark <= 1.0 for mark in marks) else ()


def _text(value: Any) -> str | None:
    """The words of an answer: a text, a number, the first of a list of them."""
    if isinstance(value, list):
        return _text(value[0]) if value else None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return next((text for key in SAID if key in value and (text := _text(value[key])) is not None), None)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a whole number of a column in which some are missing
    return None if value is None else str(value)


def _question(value: Any) -> str:
    if isinstance(value, list):
        return _question(value[0]) if value else ""
    return value if isinstance(value, str) else ""
