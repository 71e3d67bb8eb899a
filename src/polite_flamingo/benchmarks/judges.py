"""Scores of answers by models: entailment (questions), similarity (captions, changes), politeness (all).

Every score is kept in a file the moment its batch is done, by the content of what was judged and of the judge: a killed
judging goes on where it was, and an answer that was judged before is not judged again, whoever gave it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.items import BenchmarkItem, QuestionSet
from polite_flamingo.errors import StorageError
from polite_flamingo.evaluate.sets import Kind
from polite_flamingo.evaluate.vqa import is_entailed
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.scorers.nli import nli_pair

JUDGES = ("nli", "sts", "reward")
BATCH = 256  # answers judged between two writes
LOOKED_UP = 500  # keys of a question to SQLite

Pairs = Sequence[tuple[str, str]]


class ScoreStore:
    """Kept scores of one judge, in a SQLite file; one that a disk has damaged is none.

    Args:
        path: The file; made if absent.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(
                "create table if not exists scores (key blob primary key, value text) without rowid"
            )
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        self._path = path

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """The scores that are kept of these keys.

        Raises:
            StorageError: the file cannot be read.
        """
        found: dict[bytes, Any] = {}
        try:
            for start in range(0, len(keys), LOOKED_UP):
                part = keys[start : start + LOOKED_UP]
                marks = ",".join("?" * len(part))
                rows = self._connection.execute(f"select key, value from scores where key in ({marks})", part)
                found.update((key, json.loads(text[8:])) for key, text in rows if text[:8] == _checksum(key, text[8:]))
        except sqlite3.DatabaseError as error:
            raise _unusable(self._path, error) from error
        return found

    def put(self, scores: Mapping[bytes, Any]) -> None:
        """Keep scores; when this returns they survive a kill."""
        with self._transaction():
            texts = {key: json.dumps(value) for key, value in scores.items()}
            rows = [(key, _checksum(key, text) + text) for key, text in texts.items()]
            self._connection.executemany("insert or replace into scores values (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")


def _checksum(key: bytes, text: str) -> str:
    return f"{zlib.crc32(key + text.encode()):08x}"


def _unusable(path: Path, error: sqlite3.Error) -> StorageError:
    step = "delete it, with the files beside it that begin alike; what it held is judged again"
    return StorageError("kept scores cannot be used", value=str(error), where=path, next_step=step)


@dataclass
class KeptJudge:
    """One judge: its weights are read when a score is not kept.

    Args:
        name: One of `JUDGES`.
        folder: Its model.
        store: Folder of kept scores.
        device: As in `load_nli`.
    """

    name: str
    folder: Path
    store: Path
    device: str = "auto"

    def scores(self, pairs: Pairs) -> list[Any]:
        """The judge's score of each pair, kept or new.

        Args:
            pairs: Premise and hypothesis, two texts, or instruction and response.
        """
        keys = [
            hashlib.sha256(f"{len(first)}:{first}{second}".encode("utf-8", "replace")).digest()[:16]
            for first, second in pairs
        ]
        kept = self._store.get(list(dict.fromkeys(keys)))
        fresh = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in kept}
        if fresh:
            made = dict(zip(fresh, self._score(list(fresh.values())), strict=True))
            self._store.put(made)
            kept |= made
        return [kept[key] for key in keys]

    @cached_property
    def identity(self) -> str:
        """Content hash of the weights."""
        return fingerprint(self.name, self.folder)

    @cached_property
    def _store(self) -> ScoreStore:
        return ScoreStore(self.store / f"{self.name}-{self.identity}.sqlite")

    @cached_property
    def _score(self) -> Callable[[list[tuple[str, str]]], Sequence[Any]]:
        from polite_flamingo.scorers.nli import load_nli
        from polite_flamingo.scorers.reward import load_reward
        from polite_flamingo.scorers.sts import load_sts

        if self.name == "nli":
            return load_nli(self.folder, device=self.device).logits
        if self.name == "reward":
            return load_reward(self.folder, device=self.device).rewards
        return load_sts(self.folder, device=self.device).similarity


def judged(
    judges: Mapping[str, KeptJudge], own: QuestionSet, answers: Sequence[tuple[BenchmarkItem, str]]
) -> list[dict[str, float]]:
    """Columns ``reward``, ``nli`` and ``sts`` of answers, as far as there is a judge and the column applies.

    Args:
        judges: By name.
        own: The set of the questions.
        answers: Questions and what was said; several annotated answers count by the best.
    """
    columns: list[dict[str, float]] = [{} for _ in answers]
    if "reward" in judges:
        rewards = judges["reward"].scores([(item.question, text) for item, text in answers])
        for column, value in zip(columns, rewards, strict=True):
            column["reward"] = float(value)
    name, column_of = ("nli", _entailed) if own.kind is Kind.QUESTION else ("sts", float)
    if own.kind is Kind.PAIR or name not in judges:
        return columns
    pairs, owners = [], []
    for i, (item, text) in enumerate(answers):
        for truth in dict.fromkeys(item.answers):
            pairs.append(nli_pair(item.question, text, truth) if name == "nli" else (text, truth))
            owners.append(i)
    for i, value in zip(owners, judges[name].scores(pairs), strict=True):
        columns[i][name] = max(columns[i].get(name, float("-inf")), column_of(value))
    return columns


def _entailed(logits: Sequence[float]) -> float:
    return float(is_entailed(logits))
