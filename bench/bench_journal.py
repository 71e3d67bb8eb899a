"""The journal beside sqlite3: calls of 64 rows, each on the disk before the next, SIGKILL, and what is read back.

Both hold the same rows under their content hash: `jobs.journal` as fsynced frames, SQLite in its write-ahead log with
``synchronous=FULL``, which promises the same. A process appends until it is killed; every call it had said to be on the
disk must be read back. Then single bits of the file are flipped. ``python -m bench.bench_engine --journals`` runs it
and writes ``reports/bench/journals.json``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from bench.common import WORK
from polite_flamingo.jobs.backends.text import TEXTS
from polite_flamingo.jobs.journal import open_journal
from polite_flamingo.jobs.outcomes import Outcome
from polite_flamingo.records import Generated

ROWS = 64
CALLS = 1500
KILLS = 20
FLIPS = 10
TEXT = "The image shows a red circle above a small blue star, next to a green square in the lower left corner. "
Outcomes = dict[str, Outcome[Generated]]
Append = Callable[[list[Outcome[Generated]]], None]


def call(number: int) -> list[Outcome[Generated]]:
    """The rows of one call."""
    return [
        Outcome(i, f"{i:032x}", f"bench/train/{i}", Generated(f"{TEXT}{i}", "stop", 30))
        for i in range(ROWS * number, ROWS * (number + 1))
    ]


@contextmanager
def journal(folder: Path) -> Iterator[Append]:
    """The package's."""
    with open_journal(folder, TEXTS, shard_size=ROWS * CALLS) as opened:
        yield lambda rows: opened.append(0, rows)


@contextmanager
def sqlite(folder: Path) -> Iterator[Append]:
    """A table in SQLite, one transaction per call."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table if not exists outcomes (key text primary key, row text) without rowid")

    def append(rows: list[Outcome[Generated]]) -> None:
        with connection:
            values = [(row.key, json.dumps(TEXTS.to_row(row), ensure_ascii=False)) for row in rows]
            connection.executemany("insert or replace into outcomes values (?, ?)", values)

    yield append
    connection.close()


def read_journal(folder: Path) -> Outcomes:
    """What the journal gives back, by key."""
    with open_journal(folder, TEXTS, shard_size=ROWS * CALLS) as opened:
        return opened.restore(0, [f"{i:032x}" for i in range(ROWS * CALLS)])


def read_sqlite(folder: Path) -> Outcomes:
    """What SQLite gives back, by key."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        rows = connection.execute("select key, row from outcomes")
        return {key: TEXTS.from_row(json.loads(row)) for key, row in rows}


KINDS: dict[str, tuple[Any, Callable[[Path], Outcomes], str]] = {
    "journal": (journal, read_journal, "part-000000.frames"),
    "sqlite3": (sqlite, read_sqlite, "journal.sqlite"),
}


def append_calls(kind: str, folder: Path) -> None:
    """Append all calls; say after each that it is on the disk."""
    with KINDS[kind][0](folder) as append:
        for number in range(CALLS):
            append(call(number))
            os.write(1, b".")


def measure(kind: str, root: Path) -> dict[str, float]:
    """Time of all calls and of reading them back, bytes, calls lost over all kills, and flipped bits believed."""
    writer, reader, file = KINDS[kind]
    folder = root / kind
    started, processor = time.perf_counter(), time.process_time()
    with writer(folder) as append:
        for number in range(CALLS):
            append(call(number))
        size = sum(path.stat().st_size for path in folder.iterdir())
    appended, appended_processor = time.perf_counter(), time.process_time()
    assert len(reader(folder)) == ROWS * CALLS
    read = time.process_time()
    believed = believed_flips(folder / file, lambda: reader(folder))
    lost = 0
    for kill in range(KILLS):
        folder = root / f"{kind}-{kill}"
        command = [sys.executable, "-m", "bench.bench_journal", kind, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read(1 + Random(kill).randrange(CALLS // 4))
        process.send_signal(signal.SIGKILL)
        said = 1 + Random(kill).randrange(CALLS // 4) + len(process.stdout.read())
        process.wait()
        lost += max(0, said - len(reader(folder)) // ROWS)
    return {
        "append_ms_per_call": round(1000 * (appended - started) / CALLS, 3),
        "append_processor_ms_per_call": round(1000 * (appended_processor - processor) / CALLS, 3),
        "read_processor_seconds": round(read - appended_processor, 2),
        "mib": round(size / 2**20, 1),
        "calls_lost_by_kills": lost,
        "flipped_bits_believed": believed,
    }


def believed_flips(path: Path, read: Callable[[], Outcomes]) -> int:
    """How many flips of one bit somewhere in a file make a row come back with another content, unnoticed."""
    whole = path.read_bytes()
    rows = {row.key: row for number in range(CALLS) for row in call(number)}
    believed = 0
    for flip in range(FLIPS):
        data = bytearray(whole)
        data[Random(f"flip {flip}").randrange(len(data))] ^= 1
        path.write_bytes(data)
        with suppress(sqlite3.DatabaseError, ValueError, KeyError):  # noticed
            believed += any(outcome != rows.get(key) for key, outcome in read().items())
    path.write_bytes(whole)
    return believed


def compare_journals() -> dict[str, dict[str, float]]:
    """The figures of both; prints them."""
    figures = {}
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="journal-", dir=WORK) as root:
        for kind in KINDS:
            figures[kind] = measure(kind, Path(root))
            print(f"{kind:>8}: " + ", ".join(f"{name} {value:,}" for name, value in figures[kind].items()))
    return figures


if __name__ == "__main__":
    append_calls(sys.argv[1], Path(sys.argv[2]))
