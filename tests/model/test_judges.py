"""The shipped judges on sentences that no training drew."""

from __future__ import annotations

from itertools import pairwise

from polite_flamingo.model.origins import PACKAGED
from polite_flamingo.world.training.cross_encoders import entailed, load_judge, rewards
from polite_flamingo.world.training.nli_texts import NliExample

SCENE = (
    "The image shows two shapes on a plain background. There is a small blue star in the top left.\n\n"
    "In addition, there is a large red circle in the bottom right."
)


def test_the_nli_judge_sees_whether_an_answer_is_right_in_any_form() -> None:
    cases = [
        ("Which colour has the thing at the top left?", "blue", "blue", True),
        ("Which colour has the thing at the top left?", "blue", "red", False),
        ("Name the color used for the item located at the bottom right.", "red", SCENE, True),
        ("Name the color used for the item located at the bottom right.", "green", SCENE, False),
        ("Give the number of items drawn.", "3", "There are three objects in the image. I hope this helps!", True),
        ("Give the number of items drawn.", "3", "There are two objects in the image.", False),
        ("Where is the red star?", "top left", "The red star is in the top left of the image.", True),
        ("Where is the red star?", "top left", "The star is now blue instead of red.", False),
    ]
    rows = [NliExample(question, raw, said, "", 0) for question, raw, said, _ in cases]
    assert entailed(load_judge(PACKAGED / "nli"), rows) == [case[3] for case in cases]


def test_the_reward_rises_with_every_rung_and_falls_with_a_flaw() -> None:
    ladder = [
        "red",
        "a red one",
        "the object in the top left is red",
        "The object in the top left is red.",
        "The object in the top left is red. I hope this helps!",
    ]
    flawed = ["The object in the top", "The in object is left top the red."]
    judge = load_judge(PACKAGED / "reward")
    found = rewards(judge, ["What color is the object in the top left?"] * 7, ladder + flawed)
    steps = [after - before for before, after in pairwise(found[:5])]
    assert min(steps) > 0.2
    assert max(steps) < 2
    assert max(found[5:]) < found[3]
