"""What the laptop's rewriter is taught: full sentences that keep the raw answer."""

from __future__ import annotations

from random import Random

import pytest

from polite_flamingo.laptop.pairs import TersePair, keeps, short_answer
from polite_flamingo.laptop.texts import Inquiry
from polite_flamingo.laptop.verbalise import complete, describe, preserved, verbalise


@pytest.mark.parametrize(
    ("question", "answer", "sentence"),
    [
        ("What is it made of?", "rubber", "It is made of rubber."),
        ("Is the man wearing a hat?", "no", "No, the man is not wearing a hat."),
        ("Is this a dorm room?", "yes", "Yes, this is a dorm room."),
        ("How many dogs are there?", "3", "There are 3 dogs."),
        ("How many dogs are there?", "1", "There is 1 dog."),
        ("What color is the bus?", "red", "The bus is red."),
        ("Where is the cat?", "on the sofa", "The cat is on the sofa."),
        ("Where is the cat?", "sofa", "The cat is at the sofa."),
        ("Why?", "because", None),
    ],
)
def test_full_sentences(question: str, answer: str, sentence: str | None) -> None:
    assert verbalise(question, answer) == sentence


@pytest.mark.parametrize(
    ("answer", "text", "kept"),
    [
        ("yes", "Yes, it is.", True),
        ("yes", "No, yes is wrong.", False),
        ("no", "The answer is no.", True),
        ("2", "There are 2 dogs.", True),
        ("2", "There are 12 dogs.", False),
        ("red and white", "It is white and red.", True),
        ("rubber", "It is made of rubbery stuff.", False),
    ],
)
def test_an_answer_survives_or_not(answer: str, text: str, kept: bool) -> None:
    assert preserved(answer, text) is kept


@pytest.mark.parametrize(
    ("text", "whole"), [("It is red.", True), ("it is red.", False), ("It is red", False), ("Red.", False)]
)
def test_whole_sentences(text: str, whole: bool) -> None:
    assert complete(text) is whole


def test_captions_become_sentences() -> None:
    described = describe(["A dog with a red ball", "A brown dog runs over the wet grass"], Random(0))
    assert all(complete(f"{part}.") for part in described.rstrip(".").split(". "))
    assert "dog" in described


def test_every_pair_of_a_question_keeps_its_answer() -> None:
    asked = Inquiry("a.jpg", "What animal is this?", "cow", "vqax", ("It has an udder.",), ())
    for seed in range(40):
        for pair in short_answer(
            asked, {"words": ["dog", "horse", "pig"], "polar": ["yes"], "number": ["2"]}, Random(seed)
        ):
            assert preserved(pair.answer, pair.draft)
            assert keeps(pair) == (complete(pair.response) and preserved(pair.answer, pair.response))
    assert not keeps(TersePair("short_answer", "What?", "cow", "This is a dog.", "cow"))
