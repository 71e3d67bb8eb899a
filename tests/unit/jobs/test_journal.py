"""The journal under torn writes, full disks, damaged files and a stop before every single storage operation."""

from __future__ import annotations

import errno
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.jobs.stub import Stub, questions
from tests.unit.jobs.test_engine import go, outcomes, shards

from polite_flamingo.errors import BusyError, StorageError
from polite_flamingo.io.shards import write_shard
from polite_flamingo.io.text import write_json
from polite_flamingo.jobs.backends.text import TEXTS
from polite_flamingo.jobs.journal import Journal, _frames, open_journal
from polite_flamingo.jobs.outcomes import FAILED, AnswerFormat, Outcome
from polite_flamingo.jobs.questions import Input
from polite_flamingo.records import Generated

ROOT = Path(__file__).parents[3]
KEYS = ["a", "b", "c"]
DONE = [Outcome(i, key, f"id {key}", Generated(f"text {key}", "stop", 3)) for i, key in enumerate(KEYS)]


@pytest.fixture
def unsynced(monkeypatch):
    """A disk that is never waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Stopped(BaseException):
    pass


@dataclass(frozen=True)
class WiderAnswer(Generated):
    confidence: float = 0.0


def test_what_was_appended_is_restored_by_key(tmp_path):
    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE[:2])
        journal.append(0, DONE[2:])
    with open_journal(tmp_path, TEXTS) as journal:
        assert journal.restore(0, KEYS) == {o.key: o for o in DONE}
        assert journal.restore(0, ["b", "x"]) == {"b": DONE[1]}
        assert journal.restore(1, KEYS) == {}


def test_a_torn_last_append_costs_itself_only_and_is_cut_off(tmp_path):
    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE[:2])
        whole = (tmp_path / "part-000000.frames").read_bytes()
        journal.append(0, DONE[2:])
    path = tmp_path / "part-000000.frames"
    complete = path.read_bytes()
    for left in range(len(whole), len(complete)):
        path.write_bytes(complete[:left])
        with open_journal(tmp_path, TEXTS) as journal:
            assert set(journal.restore(0, KEYS)) == {"a", "b"}, left
            assert path.read_bytes() == whole, left
    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE[2:])
        assert set(journal.restore(0, KEYS)) == set(KEYS)


def test_a_damaged_frame_is_not_believed(tmp_path):
    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE)
    path = tmp_path / "part-000000.frames"
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with open_journal(tmp_path, TEXTS) as journal:
        assert journal.restore(0, KEYS) == {}


def test_a_damaged_sealed_shard_is_made_again(tmp_path):
    go(questions(40), Stub(), tmp_path)
    before = shards(tmp_path)
    path = tmp_path / "journal" / "part-000001.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    second = Stub()
    go(questions(40), second, tmp_path)
    assert len(second.tries) == 16
    assert shards(tmp_path) == before


@pytest.mark.parametrize("manifest", [True, False])
def test_a_bit_flipped_in_a_sealed_shard_never_becomes_an_answer(tmp_path, manifest, unsynced):
    path = tmp_path / "part-000000.parquet"
    with open_journal(tmp_path, TEXTS) as journal:
        journal.seal(0, DONE)
    whole = path.read_bytes()
    if not manifest:
        (tmp_path / "manifest.jsonl").unlink()
    draw = random.Random(manifest)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with open_journal(tmp_path, TEXTS) as journal:
            assert not journal.sealed(0, KEYS)
            found = journal.restore(0, KEYS)
            assert found in ({}, {o.key: o for o in DONE})
            assert path.exists() == bool(found), "set aside"


def test_a_bit_flipped_in_the_manifest_costs_a_look_and_no_answer(tmp_path, unsynced):
    go(questions(40), Stub(), tmp_path)
    before = shards(tmp_path)
    path = tmp_path / "journal" / "manifest.jsonl"
    draw = random.Random(3)
    for _ in range(40):
        damaged = bytearray(before["manifest.jsonl"])
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        stub = Stub()
        progress = go(Input("v", lambda place: at(place, 40)), stub, tmp_path)
        assert (stub.tries, progress.restored, progress.counts) == ([], 40, {}), bytes(damaged)
        assert shards(tmp_path).keys() == before.keys()


def at(place, count):
    start = place[0] if place else 0
    return ((question, (row,)) for row, question in list(enumerate(questions(count), 1))[start:])


@pytest.mark.parametrize(
    "rows", [{"key": "a"}, [1], [{"no": "key"}], [{"key": 5}], [{**TEXTS.to_row(DONE[0]), "text": 5}], None]
)
def test_a_frame_of_another_schema_is_passed_over_and_the_next_one_stands(tmp_path, rows):
    payload = zlib.compress(json.dumps(rows).encode())
    frame = struct.pack("<4sII", b"PFJ2", len(payload), zlib.crc32(payload)) + payload
    (tmp_path / "part-000000.frames").write_bytes(frame)
    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE[1:])
        assert set(journal.restore(0, KEYS)) == {"b", "c"}


def test_a_frame_damaged_in_the_middle_costs_itself_alone_and_is_set_aside(tmp_path):
    with open_journal(tmp_path, TEXTS) as journal:
        for outcome in DONE:
            journal.append(0, [outcome])
    path = tmp_path / "part-000000.frames"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with open_journal(tmp_path, TEXTS) as journal:
        assert set(journal.restore(0, KEYS)) == {"a", "c"}
        journal.append(0, DONE[1:2])
        assert set(journal.restore(0, KEYS)) == set(KEYS)
    assert path.with_name("part-000000.frames.damaged").read_bytes() == damaged


def test_stray_files_are_no_shards(tmp_path):
    go(questions(40), Stub(), tmp_path)
    before = shards(tmp_path)
    for name in ("part-x.frames", "part-0x.parquet", "part-000009.parquet.frames", "part-x.parquet"):
        (tmp_path / "journal" / name).write_bytes(b"stray")
    go(questions(40), Stub(), tmp_path)
    assert [outcome.index for outcome in outcomes(tmp_path)] == list(range(40))
    assert before.items() <= shards(tmp_path).items()


@pytest.mark.parametrize("tokens", [2**63, -(2**63) - 1, 10**30, True, 1.5, None, float("nan")])
def test_a_value_no_shard_can_hold_is_the_error_of_its_record(tmp_path, tokens):
    class Odd(Stub):
        def answer(self, asked):
            return [Generated("yes", "stop", tokens if question.key == "t/1" else 1) for question in asked]

    progress = go(questions(20), Odd(), tmp_path)
    assert progress.failed == 1
    assert "tokens" in next(o.reason for o in outcomes(tmp_path) if o.status == FAILED)
    assert go(questions(20), Stub(), tmp_path).failed == 0


def test_without_a_usable_manifest_finished_shards_are_still_found(tmp_path):
    go(questions(40), Stub(), tmp_path)
    before = shards(tmp_path)
    for content in (b"", b"{", b'{"format": 99, "shards": {}}'):
        (tmp_path / "journal" / "manifest.jsonl").write_bytes(content)
        second = Stub()
        go(questions(40), second, tmp_path)
        assert second.tries == [], content
        assert shards(tmp_path) == before, content


def test_a_torn_entry_costs_its_shard_a_look_and_no_answer(tmp_path):
    go(questions(40), Stub(), tmp_path)
    before = shards(tmp_path)
    path = tmp_path / "journal" / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    second = Stub()
    go(questions(40), second, tmp_path)
    assert second.tries == []
    assert shards(tmp_path) == before


def test_a_sealed_shard_without_a_column_of_the_answers_is_made_again(tmp_path):
    with open_journal(tmp_path, TEXTS) as journal:
        journal.seal(0, DONE)
        assert journal.sealed(0, KEYS)
    with open_journal(tmp_path, AnswerFormat(WiderAnswer)) as journal:
        assert not journal.sealed(0, KEYS)
        assert journal.restore(0, KEYS) == {}


def test_a_manifest_of_any_other_shape_is_unusable(tmp_path):
    for text in ("[]", '{"format": 2, "shard_size": 2048}', '{"format": 2, "shard_size": 2048, "shards": null}'):
        with open_journal(tmp_path, TEXTS) as journal:
            journal.seal(0, DONE)
        (tmp_path / "manifest.jsonl").write_text(text)
        with open_journal(tmp_path, TEXTS) as journal:
            assert set(journal.restore(0, KEYS)) == set(KEYS)


def test_the_work_of_an_earlier_format_is_done_again(tmp_path):
    """Rows of format 1, whose answers were not yet columns of their own type."""
    folder = tmp_path / "journal"
    old = [{"index": i, "key": f"k{i}", "id": f"t/{i}", "status": "done", "text": "red"} for i in range(16)]
    write_shard(folder / "part-000000.parquet", old)
    write_json(folder / "manifest.jsonl", {"format": 1, "shard_size": 16, "shards": {"0": {"key": "x", "failed": 0}}})
    payload = zlib.compress(json.dumps(old).encode(), 1)
    frame = struct.pack("<4sII", b"PFJ1", len(payload), zlib.crc32(payload)) + payload
    (folder / "part-000001.frames").write_bytes(frame)
    stub = Stub()
    assert go(questions(40), stub, tmp_path).restored == 0
    assert len(stub.tries) == 40
    go(questions(40), Stub(), tmp_path / "straight")
    assert shards(tmp_path) == shards(tmp_path / "straight")


def test_stopped_before_any_storage_operation_it_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    asked = questions(30)
    go(asked, Stub(), tmp_path / "straight")
    straight = shards(tmp_path / "straight")
    real = {name: getattr(os, name) for name in ("write", "fsync", "replace", "unlink", "truncate")}
    left = 0

    def stopping(name):
        def operation(*arguments, **more):
            nonlocal left
            left -= 1
            if left == 0:
                raise Stopped
            return real[name](*arguments, **more)

        return operation

    for name in real:
        monkeypatch.setattr(os, name, stopping(name))
    stops = 0
    while True:
        stops += 1
        folder = tmp_path / str(stops)
        folder.mkdir()
        left = stops
        first, second = Stub(), Stub()
        try:
            go(asked, first, folder)
        except Stopped:
            pass
        else:
            break
        left = 0
        go(asked, second, folder)
        assert shards(folder) == straight, f"stopped before operation {stops}"
        assert len(first.tries) + len(second.tries) <= 30 + 4, f"stopped before operation {stops}"
    assert stops > 30


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written"), (errno.EIO, "fails")]
)
def test_a_disk_that_refuses_half_of_an_append_leaves_what_was_there(tmp_path, monkeypatch, number, words):
    write, calls = os.write, 0

    def failing(file, data):
        nonlocal calls
        calls += 1
        if calls == 3:
            write(file, bytes(data)[:20])
            raise OSError(number, os.strerror(number))
        return write(file, data)

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(StorageError, match=words) as caught:
        go(questions(30), Stub(), tmp_path, call_size=3)
    assert "finished before is intact" in str(caught.value)
    monkeypatch.undo()
    frames = tmp_path / "journal" / "part-000000.frames"
    assert [end for _, end, _ in _frames(frames.read_bytes())][-1] == frames.stat().st_size, "no half append is left"
    second = Stub()
    assert go(questions(30), second, tmp_path, call_size=3).restored == 6
    go(questions(30), Stub(), tmp_path / "straight")
    assert shards(tmp_path) == shards(tmp_path / "straight")


LIMITED = """
import resource, signal, sys
from pathlib import Path
from polite_flamingo.errors import StorageError
from tests.unit.jobs.stub import Stub, questions
from tests.unit.jobs.test_engine import go

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    go(questions(400), Stub(), Path(sys.argv[1]), shard_size=400, call_size=20)
except StorageError as error:
    sys.exit(str(error))
"""


def test_a_real_refusal_of_the_kernel_is_a_clear_error_and_costs_nothing(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", LIMITED, str(tmp_path), "3000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the file would grow above the limit (append)" in done.stderr
    assert "Traceback" not in done.stderr
    second = Stub()
    progress = go(questions(400), second, tmp_path, shard_size=400, call_size=20)
    assert progress.restored >= 20
    assert len({key for key, _ in second.tries}) == 400 - progress.restored
    go(questions(400), Stub(), tmp_path / "straight", shard_size=400)
    assert shards(tmp_path) == shards(tmp_path / "straight")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="cannot be written"):
        go(questions(4), Stub(), tmp_path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="storage fails"), open_journal(tmp_path / "file" / "journal", TEXTS):
        pass


def test_a_full_disk_while_sealing_keeps_the_frames(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    with open_journal(tmp_path, TEXTS) as journal:
        journal.append(0, DONE)
        monkeypatch.setattr("polite_flamingo.jobs.journal.write_shard", full)
        with pytest.raises(StorageError, match="disk is full"):
            journal.seal(0, DONE)
        assert set(journal.restore(0, KEYS)) == set(KEYS)


def test_two_journals_of_one_folder_are_refused_and_a_closed_one_is_free(tmp_path):
    with open_journal(tmp_path, TEXTS), pytest.raises(BusyError), open_journal(tmp_path, TEXTS):
        pass
    with open_journal(tmp_path, TEXTS) as journal:
        assert isinstance(journal, Journal)


def test_left_temporary_files_are_removed(tmp_path):
    (tmp_path / ".manifest.jsonl.1.tmp").touch()
    with open_journal(tmp_path, TEXTS):
        assert not (tmp_path / ".manifest.jsonl.1.tmp").exists()


def test_shards_are_in_input_order_whatever_the_order_of_appends(tmp_path):
    go(list(reversed(questions(20))), Stub(), tmp_path)
    assert [o.index for o in outcomes(tmp_path)] == list(range(20))
