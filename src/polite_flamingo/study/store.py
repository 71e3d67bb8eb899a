"""A study as one SQLite file: samples with their images, answers and who gave them, annotators, and every click.

What people do is only ever appended, as rows of ``event`` with time and annotator; triggers refuse anything else. A
click is on the disk (write-ahead log, ``synchronous=FULL``) before the page is told so, and has a key of the page's
making, so that one sent twice is there once. Images lie in the file: it can be copied to another machine and served
there, and no path of it leads anywhere.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, StorageError
from polite_flamingo.io.files import replacing
from polite_flamingo.study.drawing import JUDGE
from polite_flamingo.study.records import (
    COMMENTED,
    LABELLED,
    RANKED,
    SEEN,
    UNDONE,
    Assignment,
    StudyAnswer,
    StudyEvent,
    StudyItem,
)

FORMAT = 1
APPLICATION = 0x50464C53  # tells our files from other SQLite files
BUSY_SECONDS = 30

_SCHEMA = """
CREATE TABLE study(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE annotator(name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE image(hash TEXT PRIMARY KEY, type TEXT NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE item(
  id TEXT PRIMARY KEY, place INTEGER NOT NULL UNIQUE, dataset TEXT NOT NULL, question TEXT NOT NULL,
  truth TEXT NOT NULL, also TEXT NOT NULL, images TEXT NOT NULL, stratum TEXT NOT NULL, weight REAL NOT NULL);
CREATE TABLE answer(
  item TEXT NOT NULL REFERENCES item, slot INTEGER NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
  scores TEXT NOT NULL,
  PRIMARY KEY(item, slot));
CREATE TABLE assignment(
  annotator TEXT NOT NULL REFERENCES annotator, item TEXT NOT NULL REFERENCES item, role TEXT NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY(annotator, item));
CREATE TABLE event(
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, at TEXT NOT NULL, clicked TEXT NOT NULL,
  annotator TEXT NOT NULL REFERENCES annotator, item TEXT NOT NULL REFERENCES item, round INTEGER NOT NULL,
  kind TEXT NOT NULL, slot INTEGER, criterion TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX event_by_item ON event(item, annotator);
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER event_remains BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
"""


def create_file(
    path: Path,
    about: Mapping[str, Any],
    tokens: Mapping[str, str],
    items: Sequence[StudyItem],
    images: Mapping[str, tuple[str, bytes]],
    assignments: Iterable[Assignment],
) -> None:
    """Write a study, whole or not at all; only its owner may read it, for it holds the annotators' links.

    Args:
        path: The file.
        about: Title, form, guidelines, seed and the like; JSON values.
        tokens: Annotator -> what their link ends with.
        items: In the order of the file.
        images: Hash -> media type and bytes.
        assignments: Who judges what.

    Raises:
        DataError: there is such a file.
    """
    for taken in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if taken.exists():
            raise DataError(
                "the file is there already", where=taken, next_step="choose another name; it may hold labels"
            )
    with replacing(path) as tmp:
        os.close(os.open(tmp, os.O_CREAT | os.O_WRONLY, 0o600))
        with closing(_connect(tmp)) as db:
            db.executescript(_SCHEMA)
            db.execute("BEGIN")
            db.executemany("INSERT INTO study VALUES(?, ?)", [(name, json.dumps(v)) for name, v in about.items()])
            db.executemany("INSERT INTO annotator VALUES(?, ?)", tokens.items())
            db.executemany("INSERT INTO image VALUES(?, ?, ?)", [(name, *one) for name, one in images.items()])
            db.executemany(
                "INSERT INTO item VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_item_row, range(len(items)), items)
            )
            db.executemany(
                "INSERT INTO answer VALUES(?, ?, ?, ?, ?)",
                [
                    (item.id, slot, one.model, one.text, json.dumps(dict(one.scores)))
                    for item in items
                    for slot, one in enumerate(item.answers)
                ],
            )
            db.executemany(
                "INSERT INTO assignment VALUES(?, ?, ?, ?)",
                [(one.annotator, one.item, one.role, one.place) for one in assignments],
            )
            db.execute("COMMIT")
            db.execute(f"PRAGMA application_id={APPLICATION}")
            db.execute(f"PRAGMA user_version={FORMAT}")


class StudyFile:
    """A study that is there, over one connection that threads take in turns; other processes may have theirs.

    Args:
        path: The file.

    Raises:
        DataError: it is no study of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError("the study does not exist", where=path, next_step="`polite-flamingo study create` makes it")
        self._lock = threading.Lock()
        try:
            self._db = _connect(path)
            self._check()
        except sqlite3.DatabaseError as error:
            raise DataError(
                "the file is no study, or damaged", value=str(error), where=path, next_step="give one of `study create`"
            ) from None

    def _check(self) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION:
            raise DataError("the file is no study", where=self.path, next_step="give one of `study create`")
        if version != FORMAT:
            raise DataError("the study is of another version", value=version, where=self.path)
        self._db.execute("PRAGMA journal_mode=WAL")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def about(self) -> dict[str, Any]:
        """What the study was created with."""
        with self._transaction() as db:
            return {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM study")}

    def tokens(self) -> dict[str, str]:
        """Annotator -> token, in the order they were named."""
        with self._transaction() as db:
            return dict(db.execute("SELECT name, token FROM annotator ORDER BY rowid"))

    def items(self) -> list[StudyItem]:
        """All samples, in the file's order."""
        with self._transaction() as db:
            return _items(db, "")

    def item(self, name: str) -> StudyItem | None:
        """One sample."""
        with self._transaction() as db:
            return next(iter(_items(db, name)), None)

    def assignments(self) -> list[Assignment]:
        """Who judges what, by annotator in their order."""
        with self._transaction() as db:
            rows = db.execute("SELECT annotator, item, role, place FROM assignment ORDER BY annotator, place")
            return [Assignment(*row) for row in rows]

    def image(self, name: str) -> tuple[str, bytes] | None:
        """Media type and bytes of an image."""
        with self._transaction() as db:
            return db.execute("SELECT type, bytes FROM image WHERE hash = ?", (name,)).fetchone()

    def events(self, item: str | None = None) -> list[StudyEvent]:
        """Every click, or those on one sample, as they came."""
        with self._transaction() as db:
            return _events(db, item)

    def add(self, event: StudyEvent) -> StudyEvent | None:
        """Keep a click, unless one with its key is there; return it as it is kept (None: there was nothing to undo).

        The event of kind `UNDONE` gets its value, and its sample, here: the annotator's last click of that round that
        was not undone yet.

        Raises:
            DataError: it is no click that annotator can make, as of now.
            StorageError: the disk refuses.
        """
        try:
            with self._transaction("IMMEDIATE") as db:
                if (kept := _kept(db, event.key)) is not None:
                    return kept
                chosen = _undo(db, event) if event.kind == UNDONE else _checked(db, event)
                return None if chosen is None else _insert(db, chosen)
        except sqlite3.OperationalError as error:
            raise StorageError(
                "the click was not kept",
                value=str(error),
                where=self.path,
                next_step="mend the disk; the page sends it again",
            ) from error

    def add_all(self, events: Iterable[StudyEvent]) -> int:
        """Keep the clicks that are not there yet, all or none; return how many were new.

        Raises:
            DataError: one is none that its annotator can make.
        """
        new = 0
        with self._transaction("IMMEDIATE") as db:
            for event in events:
                if _kept(db, event.key) is None:
                    _insert(db, _checked(db, event))
                    new += 1
        return new

    @contextmanager
    def _transaction(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """Committed, and on the disk, when the block ends well; else as if it had not been."""
        with self._lock:
            self._db.execute(f"BEGIN {kind}")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA foreign_keys=ON")
    return db


def _item_row(place: int, item: StudyItem) -> tuple[Any, ...]:
    also, images = json.dumps(item.also), json.dumps(item.images)
    return (item.id, place, item.dataset, item.question, item.truth, also, images, item.stratum, item.weight)


def _items(db: sqlite3.Connection, name: str) -> list[StudyItem]:
    where = " WHERE id = :name" if name else ""
    answers: dict[str, list[StudyAnswer]] = {}
    own = " WHERE item = :name" if name else ""
    for item, model, text, scores in db.execute(
        f"SELECT item, model, text, scores FROM answer{own} ORDER BY item, slot", {"name": name}
    ):
        answers.setdefault(item, []).append(StudyAnswer(model, text, json.loads(scores)))
    columns = "id, dataset, question, truth, also, images, stratum, weight"
    return [
        StudyItem(
            id=row[0],
            dataset=row[1],
            question=row[2],
            truth=row[3],
            answers=tuple(answers[row[0]]),
            images=tuple(json.loads(row[5])),
            also=tuple(json.loads(row[4])),
            stratum=row[6],
            weight=row[7],
        )
        for row in db.execute(f"SELECT {columns} FROM item{where} ORDER BY place", {"name": name})
    ]


_COLUMNS = "key, annotator, item, round, kind, slot, criterion, value, clicked, at, id"


def _events(db: sqlite3.Connection, item: str | None) -> list[StudyEvent]:
    where = "" if item is None else " WHERE item = ?"
    rows = db.execute(f"SELECT {_COLUMNS} FROM event{where} ORDER BY id", () if item is None else (item,))
    return [StudyEvent(*row) for row in rows]


def _kept(db: sqlite3.Connection, name: str) -> StudyEvent | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM event WHERE key = ?", (name,)).fetchone()
    return None if row is None else StudyEvent(*row)


def _insert(db: sqlite3.Connection, event: StudyEvent) -> StudyEvent:
    at = event.at or datetime.now(UTC).isoformat(timespec="milliseconds")
    values = (event.key, event.annotator, event.item, event.round, event.kind, event.slot, event.criterion, event.value)
    db.execute(
        "INSERT INTO event(key, annotator, item, round, kind, slot, criterion, value, clicked, at)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, event.clicked, at),
    )
    kept = _kept(db, event.key)
    assert kept is not None, "inserted just now"
    return kept


def _undo(db: sqlite3.Connection, event: StudyEvent) -> StudyEvent | None:
    """The event that undoes the annotator's last click of its round; None where there is none."""
    last = db.execute(
        "SELECT id, item FROM event WHERE annotator = ? AND round = ? AND kind IN (?, ?, ?) AND CAST(id AS TEXT) NOT IN"
        " (SELECT value FROM event WHERE annotator = ? AND kind = ?) ORDER BY id DESC LIMIT 1",
        (event.annotator, event.round, LABELLED, RANKED, COMMENTED, event.annotator, UNDONE),
    ).fetchone()
    if last is None:
        return None
    chosen = replace(event, item=last[1], value=str(last[0]))
    _refuse_if_seen(db, chosen)
    return chosen


def _checked(db: sqlite3.Connection, event: StudyEvent) -> StudyEvent:
    """`event`, if its annotator may make it.

    Raises:
        DataError: an unknown sample, answer or annotator, or a first judgement after the others' were seen.
    """
    assigned = db.execute(
        "SELECT role FROM assignment WHERE annotator = ? AND item = ?", (event.annotator, event.item)
    ).fetchone()
    if assigned is None or (event.round == 1 and assigned[0] != JUDGE):
        raise DataError("this sample is not one of the annotator's", value=event.item, where=event.annotator)
    slots = db.execute("SELECT count(*) FROM answer WHERE item = ?", (event.item,)).fetchone()[0]
    if event.slot is not None and not 0 <= event.slot < slots:
        raise DataError("the sample has no such answer", value=event.slot, where=event.item)
    _refuse_if_seen(db, event)
    return event


def _refuse_if_seen(db: sqlite3.Connection, event: StudyEvent) -> None:
    if (
        event.round == 1
        and db.execute(
            "SELECT 1 FROM event WHERE annotator = ? AND item = ? AND kind = ?", (event.annotator, event.item, SEEN)
        ).fetchone()
    ):
        raise DataError(
            "the others' judgement of this sample was seen: the own first one stays as it is",
            value=event.item,
            next_step="change it in the second round",
        )
