"""Official metrics: values computed by hand from their definitions."""

from __future__ import annotations

import pytest

from polite_flamingo.benchmarks.metrics.choice import chosen, chosen_by_letter, exact, relaxed, says_yes
from polite_flamingo.benchmarks.metrics.vqa import (
    contains,
    direct_accuracy,
    evalai,
    soft_accuracy,
    textvqa_accuracy,
    vqa_accuracy,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (10, 1.0),
        (4, 1.0),  # 4 x min(3/3, 1) + 6 x min(4/3, 1)
        (3, 0.9),  # (3 x 2/3 + 7 x 1) / 10
        (2, 0.6),  # (2 x 1/3 + 8 x 2/3) / 10
        (1, 0.3),  # 9 x 1/3 / 10
        (0, 0.0),
    ],
)
def test_vqa_accuracy_is_the_mean_over_ten_subsets_of_nine_annotators(given: int, expected: float) -> None:
    annotated = ["red"] * given + [f"colour {i}" for i in range(10 - given)]
    assert vqa_accuracy("Red", annotated) == pytest.approx(expected)
    assert textvqa_accuracy("the red.", annotated) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "processed"),
    [
        ("The two dogs.", "2 dogs"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("1,000", "1000"),
        ("yes/no", "yes no"),  # a mark beside no blank becomes one
        ("t-shirt - red", "tshirt red"),  # a mark beside a blank somewhere goes everywhere
        ("man's hat", "man 's hat"),  # EvalAI sets the clitic apart
        ("3.5 m.", "3.5 m"),
    ],
)
def test_answers_are_processed_as_evalai_does(text: str, processed: str) -> None:
    assert evalai(text) == processed


def test_vqa_v2_leaves_articles_of_annotated_answers_alone() -> None:
    annotated = ["the left"] * 9 + ["right"]
    assert vqa_accuracy("the left", annotated) == 0.0  # "left" of the answer meets "the left" of the annotators
    assert textvqa_accuracy("the left", annotated) == 1.0


def test_other_forms_of_the_truth() -> None:
    assert direct_accuracy(" Cat", ["cat", "cat", "dog"]) == pytest.approx(2 / 3)
    assert soft_accuracy("Ivy.", ["vine", "ivy"], [1.0, 0.667]) == 0.667
    assert contains("There are two dogs here", ["2"]) and not contains("There are 12 dogs", ["2"])


@pytest.mark.parametrize(
    ("answer", "letter", "any_form"),
    [
        ("B", 1, 1),
        ("B. West", 1, 1),
        ("Some words. The answer is B.", 1, 1),
        ("E", -1, -1),  # there are only four choices
        ("(C)", -1, 2),
        ("the answer is: d", -1, 3),
        ("It is the far west.", -1, 3),  # the longer choice, not "west"
        ("north or south", -1, -1),
        ("A man", -1, -1),
    ],
)
def test_a_choice_is_told_by_letter_or_text(answer: str, letter: int, any_form: int) -> None:
    choices = ["north", "west", "south", "far west"]
    assert (chosen_by_letter(answer, choices), chosen(answer, choices)) == (letter, any_form)


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes, there is.", True),
        ("No, there is none", False),
        ("There is not. Yes", False),
        ("nothing", True),
        ("I see no dog", False),
    ],
)
def test_yes_and_no_are_read_as_pope_reads_them(answer: str, yes: bool) -> None:
    assert says_yes(answer) is yes


def test_numbers_may_be_five_per_cent_off_and_words_may_not() -> None:
    assert relaxed("105", "100") and not relaxed("105.1", "100")
    assert relaxed("42%", "0.42") and relaxed("Yes", "yes") and not relaxed("yess", "yes")
    assert not relaxed("0.0001", "0")  # of nothing there are no 5 %
    assert exact("Left.", "left") and not exact("on the left", "left")
