"""Kept answers come back, whatever becomes of the file they stand in."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from pathlib import Path

import pytest

from polite_flamingo.jobs.backends import answer_cache
from polite_flamingo.jobs.backends.answer_cache import AnswerCache
from polite_flamingo.jobs.backends.chat_completion import Reply


def name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def reply(number: int) -> Reply:
    return Reply(f"two\nlines of {number}, “quoted”", "stop", number, None)


def keep(folder: Path, *numbers: int) -> None:
    cache = AnswerCache(folder)
    for number in numbers:
        cache.remember(name(number), reply(number))
    cache.close()


def found(folder: Path, count: int) -> list[int]:
    cache = AnswerCache(folder)
    replies = [cache.recall(name(number)) for number in range(count)]
    cache.close()
    assert all(kept in (None, reply(number)) for number, kept in enumerate(replies))
    return [number for number, kept in enumerate(replies) if kept is not None]


def test_answers_come_back_in_the_same_process_and_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_cache, "_RECENT", 8)
    cache = AnswerCache(tmp_path)
    for number in range(50):
        assert cache.recall(name(number)) is None
        cache.remember(name(number), reply(number))
        assert [cache.recall(name(n)) for n in range(number + 1)] == [reply(n) for n in range(number + 1)]
    cache.remember(name(7), reply(70))
    assert cache.recall(name(7)) == reply(70)
    cache.close()
    assert cache.recall(name(7)) == reply(70)
    cache.close()


def test_a_file_cut_off_anywhere_loses_its_last_answer_alone(tmp_path: Path) -> None:
    keep(tmp_path, 0, 1, 2)
    file = tmp_path / "answers-000.lines"
    data = file.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(data) - 1, 9):
        file.write_bytes(data[:end])
        keep(tmp_path, 3)
        assert found(tmp_path, 5) == [0, 1, 3], end


def test_a_spoilt_byte_costs_the_answers_of_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path, 0, 1, 2)
    file = tmp_path / "answers-000.lines"
    data = file.read_bytes()
    first, second = data.index(b"\n"), data.index(b"\n", data.index(b"\n") + 1)
    for place in range(first + 1, second, 9):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        assert found(tmp_path, 3) == [0, 2], place
    assert "1 spoilt lines are passed over" in caplog.text


def test_processes_at_work_at_the_same_time_have_files_of_their_own(tmp_path: Path) -> None:
    caches = [AnswerCache(tmp_path) for _ in range(3)]
    for number in range(30):
        caches[number % 3].remember(name(number), reply(number))
    for cache in caches:
        cache.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"answers-00{n}.lines" for n in range(3)]
    assert found(tmp_path, 30) == list(range(30))
    keep(tmp_path, 30)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_that_refuses_ends_the_keeping_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = AnswerCache(tmp_path)
    cache.remember(name(0), reply(0))

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_cache, "_write", full)
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            cache.remember(name(number), reply(number))
    assert caplog.text.count("answers are not kept any more") == 1
    assert cache.recall(name(0)) is None
    assert found(tmp_path, 3) == [0]


@pytest.mark.parametrize(
    "kept",
    [
        {"completion_tokens": 2**63}, {"completion_tokens": True}, {"text": 5}, {"text": None}, {"finish_reason": "x"},
        {"more": 1}, None, [],
    ],
)  # fmt: skip
def test_a_kept_value_that_no_answer_has_is_asked_for_again(tmp_path: Path, kept: object) -> None:
    keep(tmp_path, 0)
    file = tmp_path / "answers-000.lines"
    _, key, value = file.read_bytes().split(b" ", 2)
    odd = {**json.loads(value), **kept} if isinstance(kept, dict) else kept
    text = key + b" " + json.dumps(odd).encode()
    file.write_bytes(b"%08x %b\n" % (zlib.crc32(text), text))
    assert found(tmp_path, 1) == []
