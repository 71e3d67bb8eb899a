"""InstructionWild: instructions people shared, answered by ChatGPT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.instructions import instruction_sample

FILES = {"en": "instinwild_en.json", "ch": "instinwild_ch.json"}


class InstructionWild:
    """InstructionWild, version 1 (section 4.3, text-only instructions).

    Version 2 (``data_v2/user_*.jsonl``) holds instructions without answers and cannot be used.
    """

    name = "instructionwild"
    tasks = frozenset({Task.TEXT})
    licence = "non-commercial research only; OpenAI terms of use"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[data/]instinwild_en.json``, or ``instinwild_ch.json`` for the split ``ch`` (Chinese)."""
        base = root / folder
        name = FILES.get(split, FILES["en"])
        if not any((base / inner / name).is_file() for inner in ("", "data")) and any(base.glob("**/user_*.jsonl")):
            raise DataError(
                "these files hold instructions without answers",
                value=folder,
                where=root,
                next_step=f"get {name} of version 1",
            )
        file = find_one(root, folder, name, f"data/{name}")
        where = relative(root, file)
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, split, row, record)

    def _sample(self, split: str, row: int, record: Any) -> Sample:
        return instruction_sample(self, split, str(row), record, ("output",))  # not every release of it has ids
