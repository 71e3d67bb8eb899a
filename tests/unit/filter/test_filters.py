"""Each filter, at and beside its threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.filter.scoring import decide, judge, with_columns

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.filter.chain import decide as decide_batch
from polite_flamingo.filter.change import ChangeFilter
from polite_flamingo.filter.contradiction import ContradictionFilter
from polite_flamingo.filter.leaked_boxes import LeakedBoxesFilter
from polite_flamingo.filter.length import LengthFilter
from polite_flamingo.filter.repetition import RepetitionFilter
from polite_flamingo.filter.sts import StsFilter
from polite_flamingo.filter.table import batch_of
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.text import count_boxes, repeated_share

OPEN = FilterSettings().changed({"length.min_words": 0, "change.max_rouge_l": 1.0, "sts.min_cosine": -1.0})


def scored(text: str = "The circle is red.", task: Task = Task.CAPTION, **scores: Any) -> Rewrite:
    bare = Rewrite("s/1", "s", "train", "-", task, "q", (Image("a.png"),), "raw", text, "stop")
    return with_columns(bare, **scores)


@pytest.mark.parametrize(("words", "kept"), [(2, False), (3, True), (5, True), (6, False)])
def test_length_keeps_its_bounds(words: int, kept: bool) -> None:
    verdict = judge(LengthFilter(min_words=3, max_words=5), scored("word " * words))
    assert verdict.kept is kept
    assert verdict.score == words


def test_change_rejects_a_copy_and_keeps_what_lies_on_the_threshold() -> None:
    assert judge(ChangeFilter(max_rouge_l=0.95), scored(rouge_l=0.951)).reason == "change: Rouge-L 0.9510 above 0.95"
    assert judge(ChangeFilter(max_rouge_l=0.95), scored(rouge_l=0.95)).kept


def test_sts_rejects_below_the_threshold() -> None:
    assert judge(StsFilter(min_cosine=0.4), scored(sts=0.3999)).reason == "sts: 0.3999 below 0.4"
    assert judge(StsFilter(min_cosine=0.4), scored(sts=0.4)).kept


@pytest.mark.parametrize("task", [Task.CAPTION, Task.CHANGE, Task.DETAIL])
def test_sts_applies_to_captions(task: Task) -> None:
    assert not judge(StsFilter(min_cosine=0.4), scored(task=task, sts=0.1)).kept


@pytest.mark.parametrize("task", [Task.VQA, Task.TEXT, Task.REASONING])
def test_sts_does_not_apply_elsewhere(task: Task) -> None:
    verdict = judge(StsFilter(min_cosine=0.4), scored(task=task, sts=0.1))
    assert verdict.kept and verdict.score is None


def test_a_scorer_the_profile_goes_without_rejects_nothing() -> None:
    assert judge(StsFilter(min_cosine=0.4), scored(sts=None)).kept
    assert judge(ContradictionFilter(), scored(task=Task.VQA, nli=None)).kept
    assert not decide(scored("a\n\nb", clip_logits=None), OPEN).cut


def test_a_record_that_was_never_scored_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(DataError, match="has not been scored"):
        judge(StsFilter(), replace(scored(), scores={}))


@pytest.mark.parametrize(
    ("logits", "kept"), [([1.0, 0.9, 0.0], False), ([0.9, 1.0, 0.0], True), ([0.9, 0.0, 1.0], True)]
)
def test_contradiction_is_the_largest_logit(logits: list[float], kept: bool) -> None:
    verdict = judge(ContradictionFilter(), scored(task=Task.VQA, nli=logits))
    assert verdict.kept is kept
    assert verdict.score == logits[0]


def test_other_labels_can_be_rejected_too() -> None:
    strict = ContradictionFilter(reject=["contradiction", "neutral"])
    assert judge(strict, scored(task=Task.VQA, nli=[0.0, 0.0, 1.0])).reason == "nli: neutral"


def test_nli_does_not_apply_to_captions() -> None:
    assert judge(ContradictionFilter(), scored(task=Task.CAPTION, nli=[1.0, 0.0, 0.0])).kept


def test_paragraphs_below_the_threshold_are_cut_and_their_logits_with_them() -> None:
    record = scored("One.\n\nTwo.\n\n\nThree.", clip_logits=[17.0, 16.9999, 20.0])
    decision = decide(record, OPEN)
    assert decision.text == "One.\n\nThree."
    assert decision.rewrite.scores["clip_logits"] == [17.0, 20.0]
    assert decision.cut == ((16.9999, "Two."),)
    assert decision.verdicts["paragraphs"].score == 16.9999
    assert record.rewritten == "One.\n\nTwo.\n\n\nThree."


def test_a_record_whose_paragraphs_all_fail_is_left_whole_and_said_so() -> None:
    decision = decide(scored("One.\n\nTwo.", clip_logits=[1.0, 2.0]), OPEN)
    assert decision.reason == "paragraphs: all cut"
    assert decision.text == "One.\n\nTwo."


def test_a_single_paragraph_and_an_answer_are_never_cut() -> None:
    for record in (scored("One paragraph.", clip_logits=[1.0]), scored("A.\n\nB.", Task.VQA, clip_logits=[1.0, 2.0])):
        decision = decide(record, OPEN)
        assert decision.text == record.rewritten and not decision.cut, record.task
        assert decision.kept and decision.verdicts["paragraphs"].score is None, record.task


def test_a_text_that_has_changed_since_it_was_scored_is_an_error() -> None:
    record = scored("A.\n\nB.\n\nC.", clip_logits=[1.0, 20.0, 20.0])
    decisions = decide_batch(batch_of([record]), OPEN)
    with pytest.raises(DataError, match="as many clip_logits as paragraphs"):
        list(decisions.on([replace(record, rewritten="A.\n\nB.")]))
    with pytest.raises(DataError, match="score table and records differ"):
        list(decisions.on([replace(record, id="s/2")]))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("a b c", 0.0),
        ("a b c d e f g h", 0.0),
        ("a b c d a b c d", 0.5),
        ("A b, c d. a B c D!", 0.5),
        ("x x x x x x x x", 7 / 8),
        ("a b c d e a b c f", 0.0),
    ],
)
def test_repeated_share_counts_words_of_four_grams_seen_before(text: str, share: float) -> None:
    assert repeated_share(text) == pytest.approx(share)


def test_repetition_rejects_a_loop() -> None:
    assert not judge(RepetitionFilter(max_share=0.3), scored("there is a red circle " * 10)).kept
    assert judge(RepetitionFilter(max_share=0.5), scored("a b c d a b c d")).kept


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("person: [0.44, 0.176, 0.591, 0.316]", 1),
        ("at (0.1, .2, 1, 0.3) and [0,0,1,1]", 2),
        ("cut off [0.1, 0.2, 0.3, 0.4", 1),
        ("the years (1990, 1991) and [1, 2, 3]", 0),
        ("numbers 0.1, 0.2, 0.3, 0.4 in a row", 0),
        ("", 0),
    ],
)
def test_boxes_are_four_numbers_in_brackets(text: str, boxes: int) -> None:
    assert count_boxes(text) == boxes
    assert judge(LeakedBoxesFilter(), scored(text)).kept is (boxes == 0)
