"""Repair: what shows a fault is tried again with another seed, then kept as raw with the reason."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.jobs.stub import FAULTS, Stub, answer, questions

from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.records import Generated, Image, Sample, Task, Turn
from polite_flamingo.rewrite.job import as_rewrite
from polite_flamingo.rewrite.question import FIGURE_3_VERSION, RewriteQuestion, question_of
from polite_flamingo.rewrite.repair import REWRITES, RepairingBackend, RepairPolicy, RewriteAnswer

VISIBLE = [name for name in FAULTS if name != "error"]


def repaired(stub: Stub, asked: list[RewriteQuestion], attempts: int) -> list[RewriteAnswer | Failure]:
    return RepairingBackend(stub, RepairPolicy(attempts=attempts)).answer(asked)


def test_a_fault_is_named():
    question = RewriteQuestion("a", "?", "A star")
    for fault in VISIBLE:
        assert RepairPolicy(attempts=1).fault(question, FAULTS[fault](question)) == fault
    assert RepairPolicy(attempts=1).fault(question, Generated("It is a star.", "stop", 4)) is None


def test_a_fault_of_the_first_try_is_mended_by_the_second():
    for fault in VISIBLE:
        stub = Stub()
        question = RewriteQuestion("a", "?", f"once:{fault}")
        (mended,) = repaired(stub, [question], 3)
        assert (mended.raw, mended.attempts, mended.fault) == (False, 1, fault)
        assert mended.text == answer(replace(question, attempt=1)).text, fault
        assert stub.tries == [("a", 0), ("a", 1)], fault


def test_what_cannot_be_mended_keeps_its_raw_answer_with_the_reason():
    for fault in VISIBLE:
        stub = Stub()
        (kept,) = repaired(stub, [RewriteQuestion("a", "?", f"never:{fault}")], 2)
        assert (kept.raw, kept.text, kept.attempts, kept.fault) == (True, f"never:{fault}", 2, fault)
        assert stub.tries == [("a", 0), ("a", 1), ("a", 2)], fault


def test_without_attempts_answers_are_taken_as_they_come():
    (taken,) = repaired(Stub(), [RewriteQuestion("a", "?", "never:unchanged")], 0)
    assert (taken.raw, taken.text, taken.fault) == (False, "never:unchanged", "")


def test_an_error_is_a_failure_and_not_repaired():
    stub = Stub()
    assert repaired(stub, [RewriteQuestion("a", "?", "never:error")], 2) == [Failure("error: refused")]
    assert stub.tries == [("a", 0)]


def test_an_error_while_repairing_is_one_more_try_without_success():
    class Failing(Stub):
        def answer(self, asked):
            return [
                Failure("error: gone") if q.attempt else a for q, a in zip(asked, super().answer(asked), strict=True)
            ]

    (kept,) = repaired(Failing(), [RewriteQuestion("a", "?", "never:unfinished")], 2)
    assert (kept.raw, kept.text, kept.finish_reason, kept.tokens) == (True, "never:unfinished", "length", 3)


def test_only_what_has_a_fault_is_tried_again_and_positions_stay():
    stub = Stub()
    asked = questions(6)
    asked[2] = RewriteQuestion("two", "?", "once:empty")
    asked[4] = RewriteQuestion("four", "?", "never:unfinished")
    answers = repaired(stub, asked, 2)
    assert stub.calls == [6, 2, 1]
    assert [a.raw for a in answers] == [False, False, False, False, True, False]
    assert answers[4].finish_reason == "length"
    assert [a.tokens for a in answers] == [5, 5, 5, 5, 9, 5]


def test_another_policy_is_other_work_and_repairs_are_counted(tmp_path):
    asked = [*questions(8), RewriteQuestion("x", "?", "never:unchanged"), RewriteQuestion("y", "?", "once:empty")]
    job = Job(REWRITES, tmp_path / "journal", tmp_path)
    for attempts in (1, 2):
        executor = LocalExecutor(RepairingBackend(Stub(), RepairPolicy(attempts=attempts)))
        progress = run(job, asked, executor)
        assert (progress.restored, progress.computed) == (0, 10)
        assert progress.counts == {"repaired": 1, "kept_raw": 1}
    assert run(job, asked, executor).restored == 10
    assert list(job.outcomes())[8].answer == RewriteAnswer("never:unchanged", "stop", 9, 2, "unchanged", raw=True)


def test_an_annotation_becomes_a_question_and_a_rewrite():
    sample = Sample(
        "s", "vqa", "train", "x", Task.VQA,
        (Turn("human", "What?", (1,)), Turn("assistant", "red")), (Image("a.png"), Image("b.png")), {"choices": []},
    )  # fmt: skip
    assert question_of(sample) == RewriteQuestion("s", "What?", "red", ("b.png",))
    plain = as_rewrite(sample, RewriteAnswer("It is red.", "stop", 4))
    assert (plain.rewritten, plain.raw_answer, plain.extras) == (
        "It is red.",
        "red",
        {"choices": [], "prompt": FIGURE_3_VERSION},
    )
    raw = as_rewrite(sample, RewriteAnswer("red", "stop", 4, 2, "unchanged", raw=True))
    assert raw.extras["repair"] == {"attempts": 2, "fault": "unchanged", "kept": "raw"}
