"""Alpaca-style instructions: ``instruction``, optional ``input``, ``output``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need
from polite_flamingo.sources.files import find_all, read_items, relative

NO_INPUT = frozenset({"", "<noinput>", "noinput", "no input", "n/a"})


class Alpaca:
    """Alpaca and Alpaca-GPT4 (section 3.1, text-only instructions)."""

    name = "alpaca"
    tasks = frozenset({Task.TEXT})
    licence = "CC BY-NC 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read every ``alpaca*.json``; no splits, `split` is a label."""
        for file in find_all(root, folder, "alpaca*.json"):
            where, stem = relative(root, file), file.stem
            for row, record in enumerate(read_items(file)):
                yield attempt(
                    self.name, where, row, instruction_sample, self, split, f"{stem}-{row}", record, ("output",)
                )


def instruction_sample(source: Any, split: str, row_id: str, record: Any, answers: tuple[str, ...]) -> Sample:
    """The sample of one instruction row.

    Args:
        source: The reader it belongs to (its name and licence are used).
        split: Split or label.
        row_id: Last part of the sample id.
        record: The row.
        answers: Keys the answer may have, first wins.
    """
    instruction = need(record, "instruction", str)
    given = record.get("input") or ""
    if not isinstance(given, str):
        raise DataError("'input' is not of type str", value=given)
    if given.strip().lower().rstrip(".") not in NO_INPUT:
        instruction = f"{instruction}\n\n{given.strip()}"
    key = next((key for key in answers if record.get(key)), answers[0])
    return Sample(
        id=f"{source.name}/{split}/{row_id}",
        source=source.name,
        split=split,
        licence=source.licence,
        task=Task.TEXT,
        turns=(Turn("human", instruction), Turn("assistant", need(record, key, str))),
    )
