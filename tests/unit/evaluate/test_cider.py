"""CIDEr: the numbers of pycocoevalcap 1.2 with its own tokens, made once for these captions."""

from __future__ import annotations

import pytest

from polite_flamingo.evaluate.cider import Cider, tokens

REFERENCES = [
    [
        "A dog runs across the green field.",
        "a brown dog is running on grass",
        "The dog's ball lies on the grass.",
    ],
    [
        "Two men ride bicycles on a busy street.",
        "men riding bikes down the street",
        "Two cyclists on a street, seen from above.",
    ],
    [
        "A plate with a sandwich and a salad.",
        "a sandwich on a white plate",
        "Lunch: a sandwich, salad and a drink.",
    ],
    [
        "A cat sleeps on a chair.",
        "a grey cat lies asleep on a wooden chair",
        "The cat is sleeping.",
    ],
]


@pytest.mark.parametrize(
    ("image", "text", "published"),
    [
        (0, "A brown dog runs on the grass.", 2.37261807),
        (1, "Two men ride bikes on the street. They wear helmets.", 1.4267252),
        (2, "A dog runs across the green field.", 0.0),
        (3, "A grey cat lies asleep on a wooden chair.", 3.87960256),
    ],
)
def test_values_are_those_of_the_coco_caption_evaluation(image: int, text: str, published: float) -> None:
    assert Cider(REFERENCES).score(text, REFERENCES[image]) == pytest.approx(published, abs=1e-7)


def test_nothing_to_compare_with_is_zero() -> None:
    assert Cider(REFERENCES).score("A dog.", []) == 0.0
    assert Cider([["A dog."]]).score("A dog.", ["A dog."]) == 0.0  # one image alone: every word is in all of them


def test_clitics_are_words_and_punctuation_is_none() -> None:
    said = "A man's well-lit room; he can't see (it's 3.5 m)."
    words = ["a", "man", "'s", "well-lit", "room", "he", "ca", "n't", "see", "it", "'s", "3.5", "m"]
    assert tokens(said) == words
