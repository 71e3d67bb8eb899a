"""The one currency of every stage: samples, pairs, rewrites and verdicts.

All records are frozen and turn into flat rows (``to_row``) whose nested parts are JSON strings: a Parquet reader
can fetch a few columns of a million records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, TypeVar

from polite_flamingo.errors import DataError
from polite_flamingo.texts import MAX_NAME, can_be_path, cleaned, cleaned_value, is_text, may_steer


class Task(StrEnum):
    """What a sample asks for; decides which filters apply (section 4.2)."""

    CAPTION = "caption"
    CHANGE = "change"
    VQA = "vqa"
    DIALOGUE = "dialogue"
    DETAIL = "detail"
    REASONING = "reasoning"
    TEXT = "text"

    @property
    def is_caption(self) -> bool:
        """True where the STS and CLIPScore filters apply (captioning, also of two images)."""
        return self in (Task.CAPTION, Task.CHANGE, Task.DETAIL)

    @property
    def is_vqa(self) -> bool:
        """True where the NLI filter applies."""
        return self is Task.VQA

    def is_short(self, answer: str) -> bool:
        """True for an answer of VQA and (ours) for one of at most three words in a dialogue: "yes", "2", "dark red".

        LLaVA's and ShareGPT's files do not tell questions from dialogues.
        """
        return self.is_vqa or (self in (Task.DIALOGUE, Task.TEXT) and 0 < len(answer.split()) <= SHORT_WORDS)


SHOWN_ERROR = 200  # characters of what a library says
SHORT_WORDS = 3  # of an answer in a dialogue that is checked and rewritten like one to a question


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its path relative to the data root (POSIX, never absolute, never ``..``)."""

    path: str

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if "://" in self.path:
            raise DataError("image is an address, which is fetched nowhere", value=self.path, next_step="download it")
        if "\\" in self.path and ":" not in self.path:
            raise DataError("image path has backslashes", value=self.path, next_step="write it with /")
        if not self.path or pure.is_absolute() or ".." in pure.parts or "\\" in self.path or ":" in self.path:
            raise DataError(
                "image path leaves the data root",
                value=self.path,
                next_step="store image paths relative to the data root, without '..', drive or scheme",
            )
        if not is_text(self.path) or not can_be_path(self.path) or cleaned(self.path) != self.path:
            raise DataError("image path is none that a file can have", value=self.path[:MAX_NAME])


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a dialogue; `images` are indices into the sample's images, shown before the text of the turn."""

    role: str  # "human" | "assistant"
    text: str
    images: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One annotated record in standard form.

    Args:
        id: Unique over the whole run: ``source/split/official-id``.
        source: Registry name of the reader.
        split: Split named by the dataset.
        licence: Licence of the annotation as the dataset states it.
        task: What is asked.
        turns: Alternating human / assistant turns, human first.
        images: All images of the dialogue.
        extras: Whatever else a later stage may use, JSON values only: ``captions`` (list[str]), ``boxes``
            (list of ``[name, x1, y1, x2, y2]`` normalised to 0..1), ``objects`` (all names of objects in the
            image), ``question_type``, ``answers`` (list[str]), ``choices`` (list[str]).
    """

    id: str
    source: str
    split: str
    licence: str
    task: Task
    turns: tuple[Turn, ...]
    images: tuple[Image, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            not self.turns
            or len(self.turns) % 2
            or any(t.role != ("human", "assistant")[i % 2] for i, t in enumerate(self.turns))
        ):
            raise DataError("turns must alternate human, assistant", value=[t.role for t in self.turns], where=self.id)
        for turn in self.turns:
            if any(i < 0 or i >= len(self.images) for i in turn.images):
                raise DataError("a turn names an image the sample does not have", value=turn.images, where=self.id)
            if turn.role == "assistant" and not turn.text.strip():
                raise DataError("empty answer", value=turn.text, where=self.id)
        texts = (self.id, self.source, self.split, self.licence, *(turn.text for turn in self.turns))
        if not is_text(*texts) or not is_text(_dump(dict(self.extras))):
            raise DataError("text holds half a character (a lone surrogate)", where=ascii(self.id))

    @property
    def instruction(self) -> str:
        """Text of the first human turn."""
        return self.turns[0].text

    @property
    def response(self) -> str:
        """Text of the first assistant turn (the raw answer of an annotation)."""
        return self.turns[1].text

    def to_rewrite(self, text: str, finish_reason: str = "stop", extras: Mapping[str, Any] | None = None) -> Rewrite:
        """The record, without scores, in which `text` answers the first human turn; `extras`: the sample's if None."""
        return Rewrite(
            id=self.id,
            source=self.source,
            split=self.split,
            licence=self.licence,
            task=self.task,
            instruction=self.instruction,
            images=tuple(self.images[i] for i in self.turns[0].images),
            raw_answer=self.response,
            rewritten=text,
            finish_reason=finish_reason,
            extras=dict(self.extras if extras is None else extras),
        )

    def to_row(self) -> dict[str, Any]:
        """Flatten for Parquet."""
        return _to_row(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sample:
        """Inverse of `to_row`."""
        return _from_row(cls, row)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row a reader could not use: kept in quarantine, counted, never lost in silence.

    What cannot be written as UTF-8 (half a character of a damaged file) is written as ``?``.
    """

    source: str
    file: str
    row: str
    reason: str
    value: str = ""

    def __post_init__(self) -> None:
        for name, text in self.to_row().items():
            if not is_text(text):
                object.__setattr__(self, name, text.encode("utf-8", "replace").decode())

    def to_row(self) -> dict[str, str]:
        """Flatten for JSON Lines."""
        return {"source": self.source, "file": self.file, "row": self.row, "reason": self.reason, "value": self.value}


@dataclass(frozen=True, slots=True)
class RewritePair:
    """A (distorted, original) training pair of the rewriter (section 3.1)."""

    id: str
    sample_id: str
    source: str
    split: str
    task: Task
    instruction: str
    images: tuple[Image, ...]
    drafted: str
    revised: str
    strategy: str
    command: str
    seed: int

    def to_row(self) -> dict[str, Any]:
        """Flatten for Parquet."""
        return _to_row(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> RewritePair:
        """Inverse of `to_row`."""
        return _from_row(cls, row)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A raw annotation with its rewritten response and, later, its scores.

    `scores` maps column name to a float, a list of floats or None (not applicable):
    ``rouge_l``, ``sts``, ``nli`` (three logits: contradiction, entailment, neutral), ``reward``, ``reward_raw``,
    ``clip_logits`` (one per paragraph).
    """

    id: str
    source: str
    split: str
    licence: str
    task: Task
    instruction: str
    images: tuple[Image, ...]
    raw_answer: str
    rewritten: str
    finish_reason: str  # "stop" | "length"
    extras: Mapping[str, Any] = field(default_factory=dict)  # the sample's extras; "probe": kind of injected corruption
    scores: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """Non-empty paragraphs of the rewritten response."""
        return tuple(p.strip() for p in self.rewritten.split("\n\n") if p.strip())

    def as_sample(self, answer: str, extras: Mapping[str, Any] | None = None) -> Sample:
        """The sample that asks the same and is answered by `answer` (the rewritten text, or the raw one)."""
        return Sample(
            id=self.id,
            source=self.source,
            split=self.split,
            licence=self.licence,
            task=self.task,
            turns=(Turn("human", self.instruction, tuple(range(len(self.images)))), Turn("assistant", answer)),
            images=self.images,
            extras={} if extras is None else extras,
        )

    def with_scores(self, **scores: Any) -> Rewrite:
        """Return a copy with more score columns."""
        return replace(self, scores={**self.scores, **scores})

    def to_row(self) -> dict[str, Any]:
        """Flatten for Parquet; scores become one JSON column."""
        return _to_row(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Rewrite:
        """Inverse of `to_row`; a row without the column of the scores has none."""
        return _from_row(cls, {"scores": "{}", **row})


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model answered.

    Args:
        text: The text, stripped.
        finish_reason: "stop" (end of sequence) or "length" (no room left), "error: …".
        tokens: Number of tokens, the end excluded.
    """

    text: str
    finish_reason: str
    tokens: int

    def __post_init__(self) -> None:
        if self.text != (seen := cleaned(self.text)):
            object.__setattr__(self, "text", seen)


def cleaned_sample(sample: Sample) -> Sample:
    """The sample with every text `cleaned`; the same where there was nothing to clean.

    Raises:
        DataError: its id holds control characters, and cleaned might be another record's.
    """
    if cleaned(sample.id) != sample.id:
        raise DataError("id holds control characters", value=ascii(sample.id))
    new: dict[str, Any] = {name: cleaned(getattr(sample, name)) for name in ("source", "split", "licence")}
    if not all(turn.text.isprintable() for turn in sample.turns):
        new["turns"] = tuple(
            turn if (seen := cleaned(turn.text)) == turn.text else replace(turn, text=seen) for turn in sample.turns
        )
    if "\\" in repr(sample.extras) and may_steer(_dump(dict(sample.extras))):  # what steers has a backslash there
        new["extras"] = cleaned_value(sample.extras)
    changed = {name: value for name, value in new.items() if value != getattr(sample, name)}
    return replace(sample, **changed) if changed else sample


R = TypeVar("R", Sample, RewritePair, Rewrite)


_dump = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


_COLUMNS: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {  # field -> to its column, and back
    "task": (str, Task),
    "turns": (
        lambda turns: _dump([[t.role, t.text, list(t.images)] for t in turns]),
        lambda text: tuple(Turn(role, said, tuple(images)) for role, said, images in json.loads(text)),
    ),
    "images": (
        lambda images: _dump([image.path for image in images]),
        lambda text: tuple(Image(path) for path in json.loads(text)),
    ),
    "extras": (lambda extras: _dump(dict(extras)), json.loads),
    "scores": (lambda scores: _dump(dict(scores)), json.loads),
}


def _to_row(record: Sample | RewritePair | Rewrite) -> dict[str, Any]:
    """A column per field, in their order; nested ones as JSON."""
    row = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: _COLUMNS[name][0](value) if name in _COLUMNS else value for name, value in row.items()}


def _from_row(kind: type[R], row: Mapping[str, Any]) -> R:
    """Inverse of `_to_row`; a row that is none is a `DataError`."""
    try:
        values = {name: row[name] for name in kind.__dataclass_fields__}
        for name, value in values.items():
            if not isinstance(value, int if name == "seed" else str):
                raise TypeError(f"{name} is {value!r}")
        return kind(**{name: _COLUMNS[name][1](v) if name in _COLUMNS else v for name, v in values.items()})
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"a stored row is not one of a {kind.__name__}",
            value=f"{type(error).__name__}: {error}"[:SHOWN_ERROR],
            where=ascii(row.get("id"))[:SHOWN_ERROR],
            next_step="delete the folder it lies in; `polite-flamingo run` makes it again",
        ) from error
