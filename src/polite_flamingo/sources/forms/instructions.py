"""Rows of an instruction, perhaps an input, and an answer: the form of Alpaca that others took over."""

from __future__ import annotations

from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Sample, Task
from polite_flamingo.sources.base import Licensed, need, reject_other_media, single_turn

NO_INPUT = frozenset({"", "<noinput>", "noinput", "no input", "n/a"})


def instruction_sample(source: Licensed, split: str, row_id: str, record: Any, answers: tuple[str, ...]) -> Sample:
    """The sample of one instruction row.

    Args:
        source: The reader it belongs to (its name and licence are used).
        split: Split or label.
        row_id: Last part of the sample id.
        record: The row.
        answers: Keys the answer may have, first wins.
    """
    reject_other_media(record)
    instruction = need(record, "instruction", str)
    addition = record.get("input") or ""
    if not isinstance(addition, str):
        raise DataError("'input' is not of type str", value=addition)
    if addition.strip().lower().rstrip(".") not in NO_INPUT:
        instruction = f"{instruction}\n\n{addition.strip()}"
    key = next((key for key in answers if record.get(key)), answers[0])
    return single_turn(
        source, split, f"{source.name}/{split}/{row_id}", Task.TEXT, question=instruction, answer=need(record, key, str)
    )
