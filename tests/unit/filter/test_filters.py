"""Each filter, at and beside its threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.filter.scoring import with_columns

from polite_flamingo.errors import DataError
from polite_flamingo.filter.change import ChangeFilter
from polite_flamingo.filter.contradiction import ContradictionFilter
from polite_flamingo.filter.length import LengthFilter
from polite_flamingo.filter.limits import leaked_boxes, repetition
from polite_flamingo.filter.paragraphs import ParagraphEditor
from polite_flamingo.filter.sts import StsFilter
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.text import count_boxes, repeated_share


def scored(text: str = "The circle is red.", task: Task = Task.CAPTION, **scores: Any) -> Rewrite:
    bare = Rewrite("s/1", "s", "train", "-", task, "q", (Image("a.png"),), "raw", text, "stop")
    return with_columns(bare, **scores)


@pytest.mark.parametrize(("words", "kept"), [(2, False), (3, True), (5, True), (6, False)])
def test_length_keeps_its_bounds(words: int, kept: bool) -> None:
    verdict = LengthFilter(3, 5).judge(scored("word " * words))
    assert verdict.kept is kept
    assert verdict.score == words


def test_change_rejects_a_copy_and_keeps_what_lies_on_the_threshold() -> None:
    assert ChangeFilter(0.95).judge(scored(rouge_l=0.951)).reason == "change: Rouge-L 0.9510 above 0.95"
    assert ChangeFilter(0.95).judge(scored(rouge_l=0.95)).kept


def test_sts_rejects_below_the_threshold() -> None:
    assert StsFilter(0.4).judge(scored(sts=0.3999)).reason == "sts: 0.3999 below 0.4"
    assert StsFilter(0.4).judge(scored(sts=0.4)).kept


@pytest.mark.parametrize("task", [Task.CAPTION, Task.CHANGE, Task.DETAIL])
def test_sts_applies_to_captions(task: Task) -> None:
    assert not StsFilter(0.4).judge(scored(task=task, sts=0.1)).kept


@pytest.mark.parametrize("task", [Task.VQA, Task.TEXT, Task.REASONING])
def test_sts_does_not_apply_elsewhere(task: Task) -> None:
    verdict = StsFilter(0.4).judge(scored(task=task, sts=0.1))
    assert verdict.kept and verdict.score is None


def test_a_scorer_the_profile_goes_without_rejects_nothing() -> None:
    assert StsFilter(0.4).judge(scored(sts=None)).kept
    assert ContradictionFilter().judge(scored(task=Task.VQA, nli=None)).kept
    assert ParagraphEditor(17.0).edit(scored("a\n\nb", clip_logits=None)).rewrite.rewritten == "a\n\nb"


def test_a_record_that_was_never_scored_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(DataError, match="has not been scored"):
        StsFilter(0.4).judge(replace(scored(), scores={}))


@pytest.mark.parametrize(
    ("logits", "kept"), [([1.0, 0.9, 0.0], False), ([0.9, 1.0, 0.0], True), ([0.9, 0.0, 1.0], True)]
)
def test_contradiction_is_the_largest_logit(logits: list[float], kept: bool) -> None:
    verdict = ContradictionFilter().judge(scored(task=Task.VQA, nli=logits))
    assert verdict.kept is kept
    assert verdict.score == logits[0]


def test_other_labels_can_be_rejected_too() -> None:
    strict = ContradictionFilter(("contradiction", "neutral"))
    assert strict.judge(scored(task=Task.VQA, nli=[0.0, 0.0, 1.0])).reason == "nli: neutral"


def test_nli_does_not_apply_to_captions() -> None:
    assert ContradictionFilter().judge(scored(task=Task.CAPTION, nli=[1.0, 0.0, 0.0])).kept


def test_paragraphs_below_the_threshold_are_cut_and_their_logits_with_them() -> None:
    record = scored("One.\n\nTwo.\n\n\nThree.", clip_logits=[17.0, 16.9999, 20.0])
    edit = ParagraphEditor(17.0).edit(record)
    assert edit.rewrite.rewritten == "One.\n\nThree."
    assert edit.rewrite.scores["clip_logits"] == [17.0, 20.0]
    assert edit.cut == ((16.9999, "Two."),)
    assert edit.lowest == 16.9999
    assert record.rewritten == "One.\n\nTwo.\n\n\nThree."


def test_a_record_whose_paragraphs_all_fail_is_left_whole_and_said_so() -> None:
    edit = ParagraphEditor(17.0).edit(scored("One.\n\nTwo.", clip_logits=[1.0, 2.0]))
    assert edit.all_cut
    assert edit.rewrite.rewritten == "One.\n\nTwo."


@pytest.mark.parametrize(
    "record", [scored("One paragraph.", clip_logits=[1.0]), scored("A.\n\nB.", Task.VQA, clip_logits=None)]
)
def test_a_single_paragraph_and_an_answer_are_never_cut(record: Rewrite) -> None:
    edit = ParagraphEditor(17.0).edit(record)
    assert edit.rewrite is record and not edit.cut and not edit.all_cut and edit.lowest is None


def test_logits_that_do_not_match_the_paragraphs_are_an_error() -> None:
    with pytest.raises(DataError, match="as many clip_logits as paragraphs"):
        ParagraphEditor(17.0).edit(scored("A.\n\nB.", clip_logits=[1.0]))


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
    assert not repetition(0.3).judge(scored("there is a red circle " * 10)).kept
    assert repetition(0.5).judge(scored("a b c d a b c d")).kept


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
    assert leaked_boxes(0).judge(scored(text)).kept is (boxes == 0)
