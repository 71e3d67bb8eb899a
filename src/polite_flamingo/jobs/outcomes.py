"""What becomes of a question, and how it is kept: one flat row per question, with a column per field of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic

from polite_flamingo.io import Row
from polite_flamingo.jobs.questions import A

DONE, FAILED, BROKEN = "done", "failed", "broken"


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
        head = {name: getattr(outcome, name) for name in ("index", "key", "id", "status", "reason")}
        row = {**head, **{name: getattr(outcome.answer, name, None) for name in self.columns()}}
        return {name: _encodable(value) for name, value in row.items()}

    def from_row(self, row: Mapping[str, Any]) -> Outcome[A]:
        """Inverse of `to_row`.

        Raises:
            KeyError: the row is of another format.
        """
        values = {name: row[name] for name in self.columns()}
        answer = self.answer(**values) if row["status"] == DONE else None
        return Outcome(row["index"], row["key"], row["id"], answer, row["status"], row["reason"])

    def columns(self) -> tuple[str, ...]:
        """Names of an answer's columns."""
        return tuple(field.name for field in fields(self.answer))  # type: ignore[arg-type]  # any dataclass


def _encodable(value: Any) -> Any:
    """Text without lone surrogates, which an endpoint may send and no file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
