"""OpenAssistant conversation trees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need
from polite_flamingo.sources.files import find_all, read_lines, relative

ROLES = {"prompter": "human", "assistant": "assistant"}


class Oasst:
    """OASST1 trees, one dialogue per English tree: at each step the reply people ranked best (section 3.1, text-only).

    Replies without a rank come after ranked ones, in file order; deleted messages are passed over; a last prompt
    without a reply is left off. Trees in other languages are passed over without being counted. Messages a model wrote
    (``synthetic``) stay in when people ranked them best; ``extras["synthetic"]`` counts them.
    """

    name = "oasst"
    tasks = frozenset({Task.TEXT})
    licence = "Apache-2.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read every ``*tree*.jsonl`` or ``*tree*.jsonl.gz``; no splits, `split` is a label."""
        for file in find_all(root, folder, "*tree*.jsonl", "*tree*.jsonl.gz"):
            where = relative(root, file)
            for row, record in read_lines(self.name, root, file):
                if isinstance(record, Reject):
                    yield record
                elif not (isinstance(record, dict) and _language(record) not in (None, "en")):
                    yield attempt(self.name, where, row, self._sample, split, record)

    def _sample(self, split: str, record: Any) -> Sample:
        path = best_path(need(record, "prompt", dict))
        if not path:
            raise DataError("prompt has no reply", value=record.get("message_tree_id"))
        return Sample(
            id=f"{self.name}/{split}/{need(record, 'message_tree_id', str)}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.TEXT,
            turns=tuple(Turn(ROLES[m["role"]], need(m, "text", str)) for m in path),
            extras={"synthetic": sum(bool(m.get("synthetic")) for m in path)},
        )


def best_path(prompt: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages from the root prompt along the best-ranked replies, ending with an assistant's.

    Raises:
        DataError: a message has an unknown role or does not alternate.
    """
    path: list[dict[str, Any]] = []
    message: dict[str, Any] | None = prompt
    while message is not None:
        expected = ("prompter", "assistant")[len(path) % 2]
        if message.get("role") != expected:
            raise DataError(f"message is not of the {expected}", value=message.get("role"))
        path.append(message)
        replies = [r for r in message.get("replies") or [] if isinstance(r, dict) and not r.get("deleted")]
        message = min(replies, key=_rank, default=None)
    return path[: len(path) - len(path) % 2]


def _rank(message: dict[str, Any]) -> float:
    rank = message.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def _language(record: dict[str, Any]) -> object:
    prompt = record.get("prompt")
    return prompt.get("lang") if isinstance(prompt, dict) else None
