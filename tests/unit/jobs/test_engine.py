"""The engine answers every question once, in order, however it is cut, repaired or interrupted."""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.unit.jobs.stub import Question, Stub, questions

from polite_flamingo.errors import BusyError, ModelError
from polite_flamingo.io.files import DAMAGED
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.jobs.backends.text import TEXTS
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor, answer_safely
from polite_flamingo.jobs.journal import open_journal
from polite_flamingo.jobs.outcomes import AnswerFormat
from polite_flamingo.jobs.questions import Failure, Input
from polite_flamingo.records import Generated


def job(folder: Path, shard_size: int = 16, answers: AnswerFormat = TEXTS, **more) -> Job:
    return Job(answers, folder / "journal", folder, shard_size=shard_size, **more)


def go(questions: Iterable[Question], stub: Stub, folder: Path, call_size: int = 4, report=None, **more):
    return run(job(folder, **more), questions, LocalExecutor(stub, call_size), report)


def outcomes(folder: Path) -> list:
    return list(job(folder).outcomes())


def shards(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "journal").glob("*[!k]")) if p.suffix != DAMAGED}


class Stopped(Exception):
    pass


class StopsAfter(Stub):
    """Stops for good after a number of calls, as a kill would."""

    def __init__(self, calls: int, **more) -> None:
        super().__init__(**more)
        self.left = calls

    def answer(self, asked):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().answer(asked)


def test_every_question_is_answered_once_in_order(tmp_path):
    stub = Stub()
    progress = go(questions(50), stub, tmp_path)
    found = outcomes(tmp_path)
    assert [o.index for o in found] == list(range(50))
    assert [o.id for o in found] == [f"t/{i}" for i in range(50)]
    assert sorted(key for key, _ in stub.tries) == sorted(f"t/{i}" for i in range(50))
    assert (progress.computed, progress.restored, progress.failed) == (50, 0, 0)
    assert not list((tmp_path / "journal").glob("*.frames"))


def test_calls_hold_questions_of_near_equal_length(tmp_path):
    lengths = []

    class Watching(Stub):
        def answer(self, asked):
            lengths.append([len(q.instruction) for q in asked])
            return super().answer(asked)

    go(questions(40), Watching(), tmp_path, call_size=8, shard_size=40)
    assert lengths == [sorted(group, reverse=True) for group in lengths]
    assert [group[0] for group in lengths] == sorted((group[0] for group in lengths), reverse=True)


def test_shards_do_not_depend_on_the_size_of_calls(tmp_path):
    go(questions(50), Stub(), tmp_path / "4", call_size=4)
    for call_size in (1, 3, 64):
        go(questions(50), Stub(), tmp_path / str(call_size), call_size=call_size)
        assert shards(tmp_path / str(call_size)) == shards(tmp_path / "4"), call_size


def test_answers_that_come_back_in_another_order_end_in_the_same_shards(tmp_path):
    class Backwards(LocalExecutor):
        def map(self, calls):
            yield from reversed(list(super().map(calls)))

    go(questions(50), Stub(), tmp_path / "a")
    run(job(tmp_path / "b"), questions(50), Backwards(Stub(), 4))
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


class Together(Stub):
    """Wants two calls at the same time, and answers none before the other one is there."""

    calls_at_once = 2

    def __init__(self, **more) -> None:
        super().__init__(**more)
        self.met = threading.Barrier(2)

    def answer(self, asked):
        self.met.wait(5)
        return super().answer(asked)


def test_calls_that_run_at_the_same_time_end_in_the_same_shards(tmp_path):
    go(questions(48), Stub(), tmp_path / "a")
    go(questions(48), Together(), tmp_path / "b")
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_a_fault_of_one_of_two_running_calls_ends_the_run_and_the_other_one_is_closed(tmp_path):
    class Faulty(Together):
        def answer(self, asked):
            number = next(self.calls)  # the first is waited for first
            self.met.wait(5)
            if number == 0:
                raise ModelError("gone")
            self.ended.append(self.closed.wait(5))
            raise ModelError("closed")

        def close(self) -> None:
            self.closed.set()

    stub = Faulty()
    stub.calls, stub.closed, stub.ended = itertools.count(), threading.Event(), []
    executor = LocalExecutor(stub, 4)
    with pytest.raises(ModelError, match="gone"):
        run(job(tmp_path), questions(16), executor)
    executor.close()
    while not stub.ended:
        time.sleep(0.01)
    assert stub.ended == [True]
    go(questions(16), Stub(), tmp_path)
    assert [o.id for o in outcomes(tmp_path)] == [f"t/{i}" for i in range(16)]


def test_an_interrupted_run_goes_on_without_answering_anything_twice(tmp_path):
    go(questions(50), Stub(), tmp_path / "straight")
    for calls in (0, 1, 5, 11):
        folder = tmp_path / str(calls)
        with pytest.raises(KeyboardInterrupt):
            go(questions(50), StopsAfter(calls), folder)
        second = Stub()
        progress = go(questions(50), second, folder)
        assert progress.restored == 50 - len(second.tries), calls
        assert progress.restored >= 2 * calls, calls  # calls at the end of a shard are smaller
        assert shards(folder) == shards(tmp_path / "straight"), calls


def test_a_finished_job_is_not_done_again(tmp_path):
    go(questions(50), Stub(), tmp_path)
    second = Stub()
    assert go(questions(50), second, tmp_path).restored == 50
    assert second.tries == []


def test_whatever_an_answer_depends_on_no_stale_work_is_reused(tmp_path):
    go(questions(20), Stub(), tmp_path)
    changed = {
        name: [replace(question, **{name: f"new {i}"}) for i, question in enumerate(questions(20))]
        for name in ("instruction", "draft", "key")
    }
    for name, asked in {**changed, "identity": questions(20)}.items():
        second = Stub(identity="other" if name == "identity" else "stub")
        folder = tmp_path / name
        shutil.copytree(tmp_path / "journal", folder / "journal")
        assert go(asked, second, folder).restored == 0, name
        assert len(second.tries) == 20, name


def test_a_changed_record_costs_itself_only(tmp_path):
    go(questions(50), Stub(), tmp_path)
    asked = questions(50)
    asked[20] = Question("t/20", "Another question?", "red")
    second = Stub()
    go(asked, second, tmp_path)
    assert second.tries == [("t/20", 0)]
    assert next(o for o in outcomes(tmp_path) if o.index == 20).id == "t/20"


def test_a_changed_image_costs_its_records_only(tmp_path, picture):
    asked = [Question(f"t/{i}", "What is it?", "red", (f"{i % 2}.png",)) for i in range(10)]
    for i in range(2):
        picture(tmp_path / f"{i}.png", (i, 0, 0))
    go(asked, Stub(), tmp_path)
    picture(tmp_path / "1.png", (9, 9, 9))
    second = Stub()
    go(asked, second, tmp_path)
    assert sorted(key for key, _ in second.tries) == [f"t/{i}" for i in range(1, 10, 2)]


def test_a_shorter_input_leaves_nothing_of_the_longer_one(tmp_path):
    go(questions(50), Stub(), tmp_path / "a")
    go(questions(20), Stub(), tmp_path / "a")
    go(questions(20), Stub(), tmp_path / "b")
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_a_broken_image_costs_its_record_and_is_named(tmp_path, picture):
    picture(tmp_path / "good.png", (1, 2, 3))
    (tmp_path / "bad.png").write_bytes(b"no image")
    asked = [Question(f"t/{i}", "?", "red", ("good.png", "bad.png") if i == 3 else ("good.png",)) for i in range(6)]
    stub = Stub()
    progress = go(asked, stub, tmp_path)
    found = outcomes(tmp_path)
    assert [o.status for o in found] == ["done"] * 3 + ["broken"] + ["done"] * 2
    assert "bad.png" in found[3].reason
    assert ("t/3", 0) not in stub.tries
    assert progress.broken == 1


def test_a_record_that_breaks_a_call_costs_itself_only(tmp_path, caplog):
    asked = questions(20)
    asked[7] = Question("t/7", "?", "crash")
    with caplog.at_level(logging.WARNING):
        go(asked, Stub(), tmp_path)
    found = outcomes(tmp_path)
    assert [o.index for o in found if o.status == "failed"] == [7]
    assert found[7].reason == "error: RuntimeError: out of luck"
    assert "t/7 cannot be answered" in caplog.text


def test_failed_records_are_tried_again_by_the_next_run(tmp_path):
    asked = questions(20)
    asked[7] = Question("t/7", "?", "never:error")
    assert go(asked, Stub(), tmp_path).failed == 1
    second = Stub()
    assert go(asked, second, tmp_path).restored == 19
    assert second.tries == [("t/7", 0)]


def test_a_backend_that_answers_nothing_ends_the_run_and_keeps_what_was_done(tmp_path):
    asked = [*questions(10), *[Question(f"x/{i}", "?", "never:error") for i in range(30)]]
    with pytest.raises(ModelError, match="refused"):
        go(asked, Stub(), tmp_path, shard_size=10)
    second = Stub()
    with pytest.raises(ModelError):
        go(asked, second, tmp_path, shard_size=10)
    assert not [key for key, _ in second.tries if key.startswith("t/")]


def test_a_backend_that_is_unusable_says_so_at_once(tmp_path):
    class Unusable(Stub):
        def answer(self, asked):
            raise ModelError("weights are gone")

    with pytest.raises(ModelError, match="weights are gone"):
        go(questions(10), Unusable(), tmp_path)


def test_a_fault_of_the_input_surfaces_and_keeps_what_was_done(tmp_path):
    def broken() -> Iterator[Question]:
        yield from questions(40)
        raise Stopped

    with pytest.raises(Stopped):
        go(broken(), Stub(), tmp_path)
    assert go(questions(40), Stub(), tmp_path).restored >= 16


def test_a_second_process_on_the_same_journal_is_refused(tmp_path):
    with open_journal(tmp_path / "journal", TEXTS), pytest.raises(BusyError, match="another process"):
        go(questions(4), Stub(), tmp_path)


def test_progress_reaches_the_report_and_the_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("polite_flamingo.jobs.progress.REPORT_SECONDS", 0.0)
    seen: list[tuple[int, dict[str, float]]] = []
    counted = AnswerFormat(Generated, lambda g: {"tokens": g.tokens, "long": g.tokens > 3}, rates=("tokens",))
    asked = [*questions(8), Question("x", "?", "never:unchanged"), Question("y", "?", "never:error")]
    go(
        asked,
        Stub(delay=0.01),
        tmp_path,
        report=lambda figures, step: seen.append((step, dict(figures))),
        answers=counted,
        total=10,
        label="rewrite",
    )
    assert [step for step, _ in seen] == sorted(step for step, _ in seen)
    step, figures = seen[-1]
    assert step == 10
    assert {"records_per_second", "tokens_per_second"} <= set(figures)
    assert (figures["long"], figures["failed"], figures["seconds_remaining"]) == (8, 1, 0)
    bar = capsys.readouterr().err
    assert "rewrite: 100%" in bar
    assert "long=8, failed=1" in bar


def test_answers_may_be_numbers_and_lists_of_numbers_in_columns_of_their_type(tmp_path):
    @dataclass(frozen=True)
    class Numbers:
        mean: float
        parts: list[float]

    class Numeric(Stub):
        def answer(self, asked):
            return [Numbers(0.1 * len(q.key), [1.5, -2.25]) if q.key != "t/3" else Failure("none") for q in asked]

    answers = AnswerFormat(Numbers)
    go(questions(20), Numeric(), tmp_path, answers=answers)
    found = list(job(tmp_path, answers=answers).outcomes())
    assert found[19].answer == Numbers(0.1 * len("t/19"), [1.5, -2.25])
    assert (found[3].answer, found[3].status, found[3].reason) == (None, "failed", "none")
    schema = pq.read_schema(tmp_path / "journal" / "part-000000.parquet")
    assert (str(schema.field("mean").type), str(schema.field("parts").type)) == ("double", "list<element: double>")


def test_the_work_of_another_type_of_answer_is_not_taken_for_this(tmp_path):
    @dataclass(frozen=True)
    class Length:
        length: int

    class Measure(Stub):
        def answer(self, asked):
            return [Length(len(q.draft)) for q in asked]

    with pytest.raises(KeyboardInterrupt):
        go(questions(20), StopsAfter(2), tmp_path / "cut")
    go(questions(20), Stub(), tmp_path / "whole")
    for name in ("cut", "whole"):
        second = Measure()
        (tmp_path / name / "journal" / "manifest.jsonl").unlink(missing_ok=True)
        assert go(questions(20), second, tmp_path / name, answers=AnswerFormat(Length)).restored == 0, name


def test_a_lone_surrogate_does_not_stop_the_job(tmp_path):
    class Odd(Stub):
        def answer(self, asked):
            return [Generated("half \ud83d", "stop", 1) for _ in asked]

    go(questions(2), Odd(), tmp_path)
    assert [o.answer.text for o in outcomes(tmp_path)] == ["half ?"] * 2


def test_the_manifest_names_every_sealed_shard(tmp_path):
    go(questions(40), Stub(), tmp_path)
    _, *entries = read_jsonl(tmp_path / "journal" / "manifest.jsonl")
    assert {line["entry"]["shard"]: line["entry"]["rows"] for line in entries} == {0: 16, 1: 16, 2: 8}


def test_a_resumed_run_begins_where_the_last_one_stopped_and_compares_what_is_finished_at_the_end(tmp_path):
    read: list[int] = []

    def asked(changed: int | None = None, version: str = "v") -> Input[Question]:
        def from_place(place):
            (start,) = place or (0,)
            for number, question in enumerate(questions(80)[start:], start):
                read.append(number)
                yield replace(question, draft="blue") if number == changed else question, (number + 1,)

        return Input(version, from_place)

    with pytest.raises(KeyboardInterrupt):
        go(asked(), StopsAfter(13), tmp_path)  # three shards of 16, and a call
    for input_, expected in ((asked(), [*range(48, 80), *range(48)]), (asked(version="w"), [*range(80)])):
        read.clear()
        copy = tmp_path / input_.version
        shutil.copytree(tmp_path / "journal", copy / "journal")
        second = Stub()
        progress = go(input_, second, copy)
        assert list(dict.fromkeys(read)) == expected
        assert (progress.restored, progress.computed) == (52, 28)
        assert [o.id for o in outcomes(copy)] == [f"t/{i}" for i in range(80)]
    third = Stub()
    progress = go(asked(changed=20), third, tmp_path)
    assert [key for key, _ in third.tries if key == "t/20"] == ["t/20"]  # although its shard was sealed
    assert progress.done == 80


def test_a_call_halves_until_the_bad_record_is_alone():
    stub = Stub()
    asked = [*questions(7), Question("bad", "?", "crash")]
    answers = answer_safely(stub, asked)
    assert [isinstance(a, Failure) for a in answers] == [False] * 7 + [True]
    assert stub.calls == [8, 4, 4, 2, 2, 1, 1]
