"""CHAIR: objects that a text names, and those that the image does not show."""

from __future__ import annotations

from typing import Any

import pytest

from polite_flamingo.evaluate.chair import chair, check_objects, named_objects, shown_objects


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Two men and a puppy.", ["person", "dog"]),
        ("A hot dog on a plate, a dog under the table", ["hot dog", "dog", "dining table"]),
        ("a baby zebra beside adult elephants", ["zebra", "elephant"]),
        ("a baby and a zebra", ["person", "zebra"]),
        ("The train tracks behind the home plate", []),
        ("A passenger train; passengers wait.", ["train", "person"]),
        ("The seat of the toilet is up", ["toilet"]),
        ("a toilet seat, a bow tie, some wine glasses", ["toilet", "tie", "wine glass"]),
        ("Geese, sheep, knives and mice on three buses", ["bird", "sheep", "knife", "mouse", "bus"]),
        ("The carpet is stable, the skies are clear", []),
    ],
)
def test_objects_go_by_their_synonyms_and_phrases_by_what_they_mean(text: str, named: list[str]) -> None:
    assert named_objects(text) == named


@pytest.mark.parametrize(
    ("extras", "shown"),
    [
        ({"boxes": [["dog", 0.1, 0.1, 0.5, 0.5]]}, {"dog", "person", "frisbee"}),
        ({"objects": ["dog", "car"]}, {"dog", "car", "person", "frisbee"}),
        ({"captions": ["a dog"]}, None),  # nobody annotated objects
        ({"boxes": [["blue square", 0.1, 0.1, 0.5, 0.5]]}, None),  # not COCO's objects
    ],
)
def test_an_image_shows_its_annotated_objects_and_what_its_captions_name(
    extras: dict[str, Any], shown: set[str] | None
) -> None:
    assert shown_objects(extras, ["A boy throws a frisbee."]) == shown


def test_every_mention_of_an_invented_object_counts() -> None:
    shown = frozenset({"dog"})
    texts = ["A dog and a cat. The cat sleeps.", "A dog.", "Nothing is here."]
    checked = [check_objects(text, shown) for text in texts]
    assert checked[0].invented == ("cat", "cat")
    assert chair(checked) == (pytest.approx(1 / 3), pytest.approx(2 / 4))
    assert chair([]) == (0.0, 0.0)
