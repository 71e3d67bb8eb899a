"""What is said of a source whose records all pass and are worth nothing."""

from __future__ import annotations

import pytest

from polite_flamingo.filter.concerns import Concerns, SourceAnswers
from polite_flamingo.sources.licences import allows_commercial_use, hub_name

GOOD = [("red", "The car is red."), ("2", "There are two dogs."), ("yes", "Yes, it is raining."), ("a cat", "A cat.")]


def said(pairs: list[tuple[str, str]], near_duplicates: float = 0.0) -> list[str]:
    answers = SourceAnswers()
    for raw, rewritten in pairs:
        answers.add(raw, rewritten)
    return list(answers.concerns(near_duplicates))


def test_one_answer_to_everything_is_said_with_its_share() -> None:
    raw = ["2", "red", "a robin", "yes", "left", "wood", "three", "blue", "dog", "no", "1985"]
    (same, gone) = said([(one, "There are 2 boxes in the image.") for one in raw] + [("a fox", "It is a fox.")])
    assert same.startswith("11 of 12 kept records have one and the same answer, to different raw answers: “There are 2")
    assert gone.startswith("of 10 short raw answers 8 are not in their rewrites by any word, e.g. “red” became “There")


def test_good_rewrites_of_few_different_answers_are_no_concern() -> None:
    assert said(GOOD * 5) == []
    assert said([("yes", "Yes, it is.")] * 20) == []  # one answer, but to one raw answer
    assert said(GOOD) == []  # too few to say anything


def test_alike_rewrites_of_raw_answers_that_differ_are_said() -> None:
    pairs = [(f"caption {n} of a thing in the park", f"A {n} thing stands in the park.") for n in range(20)]
    (alike,) = said(pairs, near_duplicates=0.95)
    assert alike.startswith("95% of the kept answers are nearly those of earlier records")
    assert said([("yes", f"Yes, {n}.") for n in range(20)], near_duplicates=0.95) == []


def test_forms_of_a_word_and_numbers_in_words_are_not_lost() -> None:
    assert said([("dogs", "It is a dog."), ("3", "Three birds."), ("walking", "He walks home.")] * 5) == []


def test_memory_is_bounded_and_the_commonest_answer_is_found() -> None:
    answers = SourceAnswers()
    for number in range(5_000):
        answers.add(f"raw {number}", "Always this." if number % 5 == 0 else f"Answer number {number} of all.")
    assert len(answers.answers) <= 64
    (same, *_) = answers.concerns(0.0)
    assert "“Always this.”" in same
    assert answers.different == pytest.approx(5_000, rel=0.02)


def test_judges_of_drawn_scenes_are_named_where_the_data_are_other() -> None:
    (concern,) = Concerns().report({}, ["nli"])
    assert (concern.source, "mean nothing" in concern.what) == ("nli", True)


@pytest.mark.parametrize(
    ("licence", "allowed", "name"),
    [
        ("CC BY 4.0", True, "cc-by-4.0"),
        ("cc-by-sa-3.0", True, "cc-by-sa-3.0"),
        ("Apache-2.0", True, "apache-2.0"),
        ("MIT", True, "mit"),
        ("CC BY-NC 4.0", False, None),
        ("CC BY-ND 4.0", False, None),
        ("research only", False, None),
        ("not stated", None, None),
        ("", None, None),
        ("CC BY 4.0 and OpenAI terms of use", None, None),
    ],
)
def test_a_licence_says_what_it_allows_or_nothing(licence: str, allowed: bool | None, name: str | None) -> None:
    assert (allows_commercial_use(licence), hub_name(licence)) == (allowed, name)
