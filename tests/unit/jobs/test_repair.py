"""Repair: what shows a fault is tried again with another seed, then kept as raw with the reason."""

from __future__ import annotations

import pytest
from tests.unit.jobs.stub import FAULTS, Generated, Stub, answer, requests

from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.jobs.repair import RepairPolicy, answer_all

VISIBLE = [name for name in FAULTS if name != "error"]


@pytest.mark.parametrize("fault", VISIBLE)
def test_a_fault_is_named(fault):
    request = Request("a", "?", "A star")
    assert RepairPolicy(attempts=1).fault(request, FAULTS[fault](request)) == fault


def test_a_good_answer_has_no_fault():
    assert RepairPolicy(attempts=1).fault(Request("a", "?", "red"), Generated("It is red.", "stop", 4)) is None


@pytest.mark.parametrize("fault", VISIBLE)
def test_a_fault_of_the_first_try_is_mended_by_the_second(fault):
    stub = Stub()
    request = Request("a", "?", f"once:{fault}")
    (made,) = answer_all(stub, [request], RepairPolicy(attempts=3))
    assert (made.status, made.attempts, made.fault) == ("done", 1, fault)
    assert made.text == answer(Request("a", "?", request.draft, attempt=1)).text
    assert stub.asked == [("a", 0), ("a", 1)]


@pytest.mark.parametrize("fault", VISIBLE)
def test_what_cannot_be_mended_keeps_its_raw_answer_with_the_reason(fault):
    stub = Stub()
    (made,) = answer_all(stub, [Request("a", "?", f"never:{fault}")], RepairPolicy(attempts=2))
    assert (made.status, made.text, made.attempts, made.fault) == ("raw", f"never:{fault}", 2, fault)
    assert stub.asked == [("a", 0), ("a", 1), ("a", 2)]


def test_without_attempts_answers_are_taken_as_they_come():
    (made,) = answer_all(Stub(), [Request("a", "?", "never:unchanged")], RepairPolicy(attempts=0))
    assert (made.status, made.text, made.fault) == ("done", "never:unchanged", "")


def test_an_error_is_a_failure_and_not_repaired():
    stub = Stub()
    (made,) = answer_all(stub, [Request("a", "?", "never:error")], RepairPolicy(attempts=2))
    assert (made.status, made.text, made.finish_reason) == ("failed", "", "error: refused")
    assert stub.asked == [("a", 0)]


def test_only_what_has_a_fault_is_tried_again_and_places_stay():
    stub = Stub()
    asked = requests(6)
    asked[2] = Request("two", "?", "once:empty")
    asked[4] = Request("four", "?", "never:unfinished")
    made = answer_all(stub, asked, RepairPolicy(attempts=2))
    assert stub.calls == [6, 2, 1]
    assert [m.status for m in made] == ["done", "done", "done", "done", "raw", "done"]
    assert made[4].finish_reason == "length"
    assert [m.tokens for m in made] == [5, 5, 5, 5, 9, 5]
