"""OpenAssistant conversations: trees, flat messages, or the Parquet files of the Hugging Face release."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need
from polite_flamingo.sources.forms.files import find_all, read_lines, relative
from polite_flamingo.sources.forms.rows import read_rows

ROLES = {"prompter": "human", "assistant": "assistant"}
READY = "ready_for_export"
COLUMNS = (
    *("message_id", "parent_id", "text", "role", "lang", "tree_state"),
    *("deleted", "review_result", "rank", "synthetic"),
)
TREES, MESSAGES = "*tree*.jsonl*", "*message*.jsonl*"
ENDINGS = frozenset({".parquet", ".jsonl", ".gz"})
Message = Mapping[str, Any]


class Oasst:
    """OASST1, one dialogue per English tree: at each step the reply people ranked best (section 4.3, text-only).

    Replies without a rank come after ranked ones, in file order; messages that were deleted or did not pass review are
    passed over; a last prompt without a reply is left off. Trees in other languages are passed over without being
    counted; trees that were not ready for export are rejected. Messages a model wrote (``synthetic``) stay in when
    people ranked them best; ``extras["synthetic"]`` counts them.
    """

    name = "oasst"
    tasks = frozenset({Task.TEXT})
    licence = "Apache-2.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the first of these forms that is there, since all of them hold the same messages.

        ``[data/]<split>-*.parquet`` (splits train and validation); ``*tree*.jsonl[.gz]``; ``*message*.jsonl[.gz]``; of
        the two official selections ``…_ready`` and ``…_all`` the first. JSON Lines have no splits, `split` is a label.
        """
        forms = ((f"**/{split}-*.parquet", self._flat), (TREES, self._trees), (MESSAGES, self._flat))
        for pattern, read in forms:
            files = [path for path in sorted((root / folder).glob(pattern)) if path.suffix in ENDINGS]
            if files:
                for file in [path for path in files if "ready" in path.name] or files:
                    yield from read(root, file, split)
                return
        find_all(root, folder, TREES, MESSAGES, forms[0][0])  # tells what is missing

    def _trees(self, root: Path, file: Path, split: str) -> Iterator[Sample | Reject]:
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            elif not (isinstance(record, dict) and _language(record) not in (None, "en")):
                yield attempt(self.name, where, row, self._tree, split, record)

    def _tree(self, split: str, record: Any) -> Sample:
        need_ready(record)
        path = best_path(need(record, "prompt", dict), _replies)
        return self._sample(split, need(record, "message_tree_id", str), path, [need(m, "text", str) for m in path])

    def _flat(self, root: Path, file: Path, split: str) -> Iterator[Sample | Reject]:
        """Two passes: the structure of all trees without their texts, then the texts of the chosen messages."""
        where, forest = relative(root, file), _Forest()
        for row, record in read_rows(self.name, root, file, columns=COLUMNS):
            try:
                if isinstance(record, Reject):
                    yield record
                else:
                    forest.add(row, record)
            except DataError as error:
                yield Reject(self.name, where, str(row), error.what, str(error.value)[:VALUE_LENGTH])
        for orphan in forest.orphans():
            yield Reject(self.name, where, str(orphan.row), "message answers one the file does not hold", orphan.id)
        chosen: dict[int | str, str] = {}
        paths: list[tuple[_Node, list[_Node]]] = []
        for prompt in forest.prompts:
            try:
                need_ready({"tree_state": prompt.state})
                paths.append((prompt, best_path(prompt, forest.replies)))
                chosen.update((node.row, "") for node in paths[-1][1])
            except DataError as error:
                yield Reject(self.name, where, str(prompt.row), error.what, str(error.value)[:VALUE_LENGTH])
        for row, record in read_rows(self.name, root, file, columns=COLUMNS):
            if row in chosen:
                chosen[row] = record["text"]
        for prompt, path in paths:
            yield attempt(
                self.name, where, prompt.row, self._sample, split, prompt.id, path, [chosen[n.row] for n in path]
            )

    def _sample(self, split: str, tree: str, path: list[Any], texts: list[str]) -> Sample:
        return Sample(
            id=f"{self.name}/{split}/{tree}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.TEXT,
            turns=tuple(Turn(("human", "assistant")[i % 2], text.strip()) for i, text in enumerate(texts)),
            extras={"synthetic": sum(bool(_get(message, "synthetic")) for message in path)},
        )


@dataclass(frozen=True, slots=True)
class _Node:
    """A message without its text."""

    row: int | str
    id: str
    parent: str | None
    role: str
    lang: str | None
    state: str | None
    rank: float | None
    synthetic: bool


class _Forest:
    """The trees of a file of flat messages, in the order of the file, which need not hold trees in one piece."""

    def __init__(self) -> None:
        self.prompts: list[_Node] = []
        self._children: dict[str, list[_Node]] = {}
        self._ids: set[str] = set()

    def add(self, row: int | str, record: Any) -> None:
        """Take one message; its text is checked and let go."""
        name, parent = need(record, "message_id", str), record.get("parent_id")
        need(record, "text", str)
        rank = record.get("rank")
        if name in self._ids:
            raise DataError("message is there twice", value=name)
        if parent is not None and not isinstance(parent, str):
            raise DataError("'parent_id' is not of type str", value=parent)
        self._ids.add(name)
        if _unwanted(record):
            return
        node = _Node(
            row,
            name,
            parent,
            need(record, "role", str),
            record.get("lang"),
            record.get("tree_state"),
            float(rank) if isinstance(rank, int | float) else None,
            bool(record.get("synthetic")),
        )
        if parent is not None:
            self._children.setdefault(parent, []).append(node)
        elif node.lang in (None, "en"):
            self.prompts.append(node)

    def replies(self, node: _Node) -> list[_Node]:
        """Wanted answers to a message."""
        return self._children.get(node.id, [])

    def orphans(self) -> Iterator[_Node]:
        """Messages whose parent the file does not hold."""
        return (node for parent, nodes in self._children.items() if parent not in self._ids for node in nodes)


def need_ready(record: Mapping[str, Any]) -> None:
    """Make sure that people finished a tree; a file that does not name states holds finished ones.

    Raises:
        DataError: the tree is in another state, such as aborted for low quality.
    """
    state = record.get("tree_state") if isinstance(record, dict) else None
    if state not in (None, READY):
        raise DataError("tree is not ready for export", value=state)


def best_path(prompt: Any, replies: Callable[[Any], list[Any]]) -> list[Any]:
    """Messages from the root prompt along the best-ranked replies, ending with an assistant's.

    Raises:
        DataError: a message has an unknown role or does not alternate, or the prompt has no reply.
    """
    path: list[Any] = []
    message = prompt
    while message is not None:
        expected = ("prompter", "assistant")[len(path) % 2]
        if _get(message, "role") != expected:
            raise DataError(f"message is not of the {expected}", value=_get(message, "role"))
        path.append(message)
        message = min(replies(message), key=_rank, default=None)
    path = path[: len(path) - len(path) % 2]
    if not path:
        raise DataError("prompt has no reply", value=_get(prompt, "message_id") or _get(prompt, "id"))
    return path


def _replies(message: Message) -> list[Message]:
    replies = message.get("replies")
    candidates = replies if isinstance(replies, list) else []
    return [reply for reply in candidates if isinstance(reply, dict) and not _unwanted(reply)]


def _unwanted(message: Message) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _rank(message: Any) -> float:
    rank = _get(message, "rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def _get(message: Any, key: str) -> Any:
    return message.get(key) if isinstance(message, dict) else getattr(message, key, None)


def _language(record: Message) -> object:
    prompt = record.get("prompt")
    return prompt.get("lang") if isinstance(prompt, dict) else None
