"""What becomes of a question, and how it is kept: one flat row per question, with a column per field of the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Generic, get_args, get_origin, get_type_hints

from polite_flamingo.errors import hide
from polite_flamingo.io.text import Row
from polite_flamingo.jobs.questions import A

DONE, FAILED, BROKEN = "done", "failed", "broken"
SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    """What became of a unit of work.

    Args:
        index: Position in the input, from 0.
        key: The unit's content hash.
        id: The question's key.
        answer: None where there is none.
        status: ``done``, ``failed``: no answer; ``broken``: an image cannot be used.
        reason: Why there is no answer.
    """

    index: int
    key: str
    id: str
    answer: A | None = None
    status: str = DONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AnswerFormat(Generic[A]):
    """How the answers of a job are kept, and what of them is counted while it runs.

    Args:
        answer: A dataclass of plain columns: texts, numbers, lists of numbers.
        counts: Figures of one answer; they are added up.
        rates: Figures that are reported per second of the run, the others as sums.
    """

    answer: type[A]
    counts: Callable[[A], Mapping[str, int]] = lambda _: {}
    rates: tuple[str, ...] = ()

    def to_row(self, outcome: Outcome[A]) -> Row:
        """Flatten for a frame or a shard; every row has all columns."""
        row = {
            "index": outcome.index,
            "key": outcome.key,
            "id": _encodable(outcome.id),
            "status": outcome.status,
            "reason": _encodable(outcome.reason),
        }
        for name in self.columns():
            value = getattr(outcome.answer, name, None)
            row[name] = _encodable(value) if type(value) is str else value
        return row

    def from_row(self, row: Mapping[str, Any]) -> Outcome[A]:
        """Inverse of `to_row`.

        Raises:
            KeyError: the row is of another format.
        """
        values = {name: row[name] for name in self.columns()}
        answer = self.answer(**values) if row["status"] == DONE else None
        return Outcome(row["index"], row["key"], row["id"], answer, row["status"], row["reason"])

    def fault(self, answer: A) -> str | None:
        """Why an answer cannot be kept: a field is not of its type, or is a number that no column can hold."""
        for name, kinds in self._kinds.items():
            value = getattr(answer, name)
            kind = type(value)
            if kind is str and str in kinds:
                continue
            parts = value if kind in (list, tuple) and list in kinds else (value,)
            if not all(type(part) in kinds and _can_be_kept(part) for part in parts):
                return f"{name} is {str(value)[:SHOWN]}"
        return None

    @property
    def _kinds(self) -> dict[str, set[type]]:
        return _kinds(self.answer)  # type: ignore[arg-type]  # any dataclass

    def columns(self) -> tuple[str, ...]:
        """Names of an answer's columns."""
        return tuple(self._kinds)


def _encodable(text: str) -> str:
    """Text without a secret, and without lone surrogates, which an endpoint may send and no file can hold."""
    return hide(text if text.isascii() else text.encode("utf-8", "replace").decode())


@cache
def _kinds(answer: type[Any]) -> dict[str, set[type]]:
    """Plain types that each column of an answer may hold, and `list` where it may be a list of them."""
    hints = get_type_hints(answer)
    return {field.name: set(_plain(hints[field.name])) for field in fields(answer)}


def _plain(hint: Any) -> Iterator[type]:
    for part in get_args(hint):
        yield from _plain(part)
    kind = get_origin(hint) or hint
    if isinstance(kind, type) and kind is not UnionType:
        yield kind
    if kind is float:
        yield int


def _can_be_kept(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, float) or math.isfinite(value)
