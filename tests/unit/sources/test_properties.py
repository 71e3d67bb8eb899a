"""Promises of every reader, tried on files nobody thought of.

Valid files with any text are read wholly. Damage never crashes the process, and never takes a record along that it did
not touch, unless the reader says that the whole file is broken.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cases import case as named
from tests.unit.sources.file_sets.cases import CASES
from tests.unit.sources.file_sets.form import Case
from tests.unit.sources.file_sets.pieces import NOBODY, Files, Owners, Record

from polite_flamingo.cli import main
from polite_flamingo.errors import DataError
from polite_flamingo.io.shards import count_shards
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source
from polite_flamingo.sources.forms import files as reading
from polite_flamingo.sources.registry import catalogue

TRIES = settings() if os.environ.get("POLITE_FLAMINGO_TRIES") else settings(max_examples=20)  # of each reader
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk is slow at 20,000 folders
NASTY = (
    *(b"\\ud800", b"\\u0000", b"\x00", b"\xff\xfe", b"../", b"/etc/", b"null", b"NaN", b"true", b"{}", b"[]", b"-"),
    *(
        b'"',
        b"'",
        b"\n",
        b"\r",
        b"\t",
        b"\\",
        b"<",
        b"&x;",
        b"}",
        b"]",
        b",",
        b"1e999",
        b"-0.0",
        b"0" * 5000,
        b"9" * 5000,
    ),
    *(b"a" * 300, b"a/" * 3000, b"[" * 20_000, b'{"a":' * 20_000),
)
WORDS = ("first", "second", "third")


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    any_text = st.text(st.characters(codec="utf-8"), max_size=20)
    count = draw(st.integers(2, 4))
    return [
        Record(index, tuple(f"{word}{index} {draw(any_text)}" for word in WORDS))  # type: ignore[arg-type]
        for index in range(count)
    ]


@st.composite
def damage(draw: st.DrawFn, files: Files) -> tuple[str, Owners | None, bytes]:
    """A damaged file: name, the records that were touched (None: perhaps all), new bytes."""
    name = draw(st.sampled_from(sorted(files.pieces)))
    pieces = files.pieces[name]
    place = draw(st.integers(0, len(pieces) - 1))
    owners, data = pieces[place]
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    kind = draw(st.sampled_from(("flip", "cut", "insert", "replace", "end")))
    touched: Owners | None = owners if owners != NOBODY else None
    if kind == "end":
        later = [piece_owners for piece_owners, _ in pieces[place:]]
        touched = None if NOBODY in later else frozenset().union(*later)
        return name, touched, b"".join(d for _, d in pieces[:place]) + data[:at]
    if kind == "flip":
        changed = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :] if data else b"\0"
    elif kind == "cut":
        changed = data[:at] + data[at + draw(st.integers(1, 12)) :]
    elif kind == "insert":
        changed = data[:at] + draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(NASTY))) + data[at:]
    else:
        nasty = draw(st.sampled_from(NASTY))
        changed = data[:at] + nasty + data[at + len(nasty) :]
    return name, touched, b"".join((*(d for _, d in pieces[:place]), changed, *(d for _, d in pieces[place + 1 :])))


@pytest.mark.parametrize("case", CASES, ids=str)
@TRIES
@given(records=records(), streamed=st.booleans())
def test_valid_files_are_read_wholly(case: Case, records: list[Record], streamed: bool) -> None:
    with file_set(case, records) as files, stream_everything(streamed):
        samples, rejects = read(case, files)
    assert rejects == []
    assert len(samples) == case.per_record * len(records)
    assert len({sample["id"] for sample in samples}) == len(samples)


@pytest.mark.parametrize("case", CASES, ids=str)
@TRIES
@given(records=records(), streamed=st.booleans(), data=st.data())
def test_damage_is_reported_and_spares_what_it_did_not_touch(
    case: Case, records: list[Record], streamed: bool, data: st.DataObject
) -> None:
    with file_set(case, records) as files, stream_everything(streamed):
        before, _ = read(case, files)
        name, touched, changed = data.draw(damage(files))
        (files.root / name).write_bytes(changed)
        try:
            after, rejects = read(case, files)
        except DataError as error:
            assert str(error)
            return
    whole = b"".join(piece for _, piece in files.pieces[name])
    if (
        touched is None
        or case.columns
        or not case.own
        or (case.numbered and changed.count(b"\n") != whole.count(b"\n"))
    ):
        if case.columns or whole.startswith(changed):
            return  # rows that are not there any more are missed by their number alone (see `warn_of_count`)
        lost = {sample["id"] for sample in before} - {sample["id"] for sample in after}
        assert not lost or rejects or len(after) >= len(before), f"lost in silence: {lost}"
        return
    for position, sample in enumerate(before):
        if position // case.per_record not in touched:
            assert sample in after, f"lost with the damage to another record: {sample['id']}"


def test_the_verb_read_prints_one_line_for_every_reader(tmp_path: Path, capsys) -> None:
    made = [Record(index, tuple(f"{word}{index}" for word in WORDS)) for index in range(3)]  # type: ignore[arg-type]
    for case in CASES:
        with named(case), file_set(case, made) as files:
            folder, out = str(files.root / "set"), tmp_path / str(case)
            assert main(["read", case.source, folder, "--out", str(out), "--split", case.split]) == 0
            (line,) = capsys.readouterr().out.splitlines()
            done = json.loads(line)
            assert sorted(done) == ["images_missing", "read", "rejected", "seconds", "split"]
            assert (done["read"], done["rejected"]) == (case.per_record * len(made), 0)
            assert count_shards(out / "samples") == done["read"]
            assert (out / "quarantine.jsonl").read_text() == ""


def test_every_reader_of_the_catalogue_is_tried() -> None:
    assert {case.source for case in CASES} == set(catalogue())


@contextmanager
def file_set(case: Case, records: list[Record]) -> Iterator[Files]:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        files = Files(Path(folder))
        case.build(files, records)
        files.write()
        yield files


@contextmanager
def stream_everything(streamed: bool) -> Iterator[None]:
    """Let small files be streamed like large ones."""
    before = reading.STREAM_ABOVE
    reading.STREAM_ABOVE = -1 if streamed else before
    try:
        yield
    finally:
        reading.STREAM_ABOVE = before


def read(case: Case, files: Files) -> tuple[list[dict[str, str]], list[Reject]]:
    """Samples as rows, and rejects; all of it can be written down."""
    samples, rejects = [], []
    for item in load_source(case.source).read(files.root, "set", case.split, seed=1):
        row = item.to_row()
        json.dumps(row, ensure_ascii=False).encode()
        if isinstance(item, Sample):
            assert all(not image.path.startswith("/") and ".." not in image.path.split("/") for image in item.images)
            samples.append(row)
        else:
            rejects.append(item)
    return samples, rejects
