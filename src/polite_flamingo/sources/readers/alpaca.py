"""Instructions in Alpaca's form: ``instruction``, optional ``input``, ``output``; and the seed tasks behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need
from polite_flamingo.sources.forms.files import find_all, find_one, read_items, read_lines, relative
from polite_flamingo.sources.forms.instructions import instruction_sample


class Alpaca:
    """Any files in Alpaca's form (section 4.3, text-only instructions)."""

    name = "alpaca"
    tasks = frozenset({Task.TEXT})
    licence = "CC BY-NC 4.0"
    siblings: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ("alpaca*.json",)

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read every ``alpaca*.json``; no splits, `split` is a label."""
        for file in find_all(root, folder, *self.patterns):
            where, stem = relative(root, file), file.stem
            for row, record in enumerate(read_items(file)):
                yield attempt(
                    self.name, where, row, instruction_sample, self, split, f"{stem}-{row}", record, ("output",)
                )


class AlpacaGpt4(Alpaca):
    """Alpaca-GPT4, the English half: Alpaca's instructions answered by GPT-4 (section 4.3, text-only instructions).

    The Chinese ``alpaca_gpt4_data_zh.json`` and the comparison data of the same repository are not read.
    """

    name = "alpaca_gpt4"
    patterns = ("alpaca_gpt4_data.json", "data/alpaca_gpt4_data.json")


class AlpacaSeedTasks:
    """The tasks people wrote to start Self-Instruct and Alpaca: one sample per instance of a task."""

    name = "alpaca_seed_tasks"
    tasks = frozenset({Task.TEXT})
    licence = "CC BY-NC 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[…_]seed_tasks.jsonl``; no splits, `split` is a label."""
        file = find_one(root, folder, "seed_tasks.jsonl", "*_seed_tasks.jsonl")
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
                continue
            try:
                task, instances = need(record, "id", str), need(record, "instances", list)
                if not instances:
                    raise DataError("task has no instance", value=task)
            except DataError as error:
                yield Reject(self.name, where, str(row), error.what, str(error.value)[:VALUE_LENGTH])
                continue
            for number, instance in enumerate(instances):
                row_id = task if len(instances) == 1 else f"{task}-{number}"
                yield attempt(self.name, where, row, self._sample, split, row_id, record, instance)

    def _sample(self, split: str, row_id: str, record: Any, instance: Any) -> Sample:
        if not isinstance(instance, dict):
            raise DataError("instance is not an object", value=instance)
        return instruction_sample(
            self, split, row_id, {**instance, "instruction": record.get("instruction")}, ("output",)
        )
