"""The judge of the embedded world: right on the polite templates, and it catches what is wrong."""

from random import Random

from tests.unit.cases import case

from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.world import questions as ask
from polite_flamingo.world.probes import corrupt
from polite_flamingo.world.scenes import draw_scene
from polite_flamingo.world.truth import GroundTruth, mentions

WORLD = GroundTruth({"a.png": frozenset({("red", "circle"), ("blue", "star")})})


def judge(question: str, answer: str, text: str, task: Task = Task.VQA):  # type: ignore[no-untyped-def]
    return WORLD.judge(task=task, instruction=question, raw_answer=answer, text=text, images=["a.png"])


def test_an_answer_is_recognised() -> None:
    for question, answer, text, preserved in [
        ("What color is the circle?", "red", "The circle is red.", True),
        ("What color is the circle?", "red", "The circle is blue.", False),
        ("How many objects are there?", "2", "There are two objects in the image.", True),
        ("How many objects are there?", "2", "There are three objects in the image.", False),
        ("How many green objects are there?", "0", "There are no green objects in the image.", True),
        ("How many red objects are there?", "1", "There is a red object.", True),
        ("Is there a red circle?", "yes", "Yes, there is a red circle.", True),
        ("Is there a red circle?", "yes", "No, there is no red circle.", False),
        ("Is there a green star?", "no", "No, I do not see a green star.", True),
        ("Where is the red circle?", "top left", "You can find it in the top left.", True),
        ("Where is the red circle?", "top left", "You can find it in the top right.", False),
        ("Is the object in the top left small or large?", "small", "The object in the top left is small.", True),
        ("Is the object in the top left small or large?", "small", "The object in the top left is large.", False),
        ("Which color is there? red, green, blue, or orange?", "red", "The answer is red.", True),
        ("Where is the red circle?", "top left", "top left", True),
        ("How many red objects are there?", "2", "2", True),
    ]:
        with case(question, answer, text, preserved):
            judged = judge(question, answer, text)
            assert judged is not None
            assert judged.answer_preserved is preserved


def test_an_object_that_is_not_there_is_a_hallucination() -> None:
    judged = judge(
        "Describe.", "a red circle", "There is a red circle. In addition, there is a green square.", Task.CAPTION
    )
    assert judged is not None
    assert judged.answer_preserved
    assert judged.hallucinated == ("green square",)


def test_a_denied_object_is_no_hallucination() -> None:
    assert mentions("There is no green square, but a red circle.") == [("red", "circle")]


def test_a_caption_that_loses_an_annotated_object_is_not_preserved() -> None:
    judged = judge("Describe.", "a red circle and a blue star", "There is a red circle.", Task.CAPTION)
    assert judged is not None
    assert not judged.answer_preserved


def test_an_image_without_ground_truth_is_not_judged() -> None:
    assert WORLD.judge(task=Task.VQA, instruction="?", raw_answer="a", text="a", images=["b.png"]) is None


def test_polite_and_terse_answers_of_the_world_are_all_preserved_and_every_corruption_is_noticed() -> None:
    for index in range(60):
        rng = Random(index)
        scene = draw_scene(rng)
        world = GroundTruth({"a.png": frozenset(t.pair for t in scene)})
        for q in [*ask.questions(scene, rng, "formal" if index % 3 == 0 else "plain"), ask.choice_question(scene, rng)]:
            for text in (q.polite, q.answer):
                judged = world.judge(
                    task=Task.VQA, instruction=q.text, raw_answer=q.answer, text=text, images=["a.png"]
                )
                assert judged is not None and not judged.corrupted, (q, text)
            rewrite = Rewrite("x", "s", "train", "CC0", Task.VQA, q.text, (Image("a.png"),), q.answer, q.polite, "stop")
            made = corrupt(world, rewrite, rng)
            assert made is not None, q
            judged = world.judge_rewrite(rewrite, made[0])
            assert judged is not None and judged.corrupted


def test_a_change_is_preserved_when_what_and_how_are_said() -> None:
    for annotation, text, preserved in [
        ("the red circle is now blue", "The circle is now blue instead of red.", True),
        ("the red circle is now blue", "The circle is now green instead of red.", False),
        ("the red circle is gone", "The red circle has been removed.", True),
        ("the red circle is gone", "There is a red circle.", False),
        ("a blue star was added in the top left", "A blue star has been added in the top left.", True),
    ]:
        with case(annotation, text, preserved):
            judged = judge("What changed?", annotation, text, Task.CHANGE)
            assert judged is not None
            assert judged.answer_preserved is preserved


def test_naming_the_object_asked_for_says_yes() -> None:
    judged = judge("Is there a red circle in the image?", "yes", "The red circle is in the top left.")
    assert judged is not None and judged.answer_preserved


def test_an_answer_about_something_else_is_not_right_even_with_the_right_word() -> None:
    scene = "It shows two shapes. There are a small blue star in the top left and a large red circle in the top right."
    for question, answer, text, preserved in [
        ("Give the location of the red circle.", "top right", scene, True),
        ("Give the location of the red circle.", "top left", scene, False),
        ("Where is the red circle?", "top left", "The red star is in the top left.", False),
        ("Name the figure drawn at the top right.", "circle", scene, True),
        ("Name the figure drawn at the top right.", "star", scene, False),
        ("What shape is in the top left?", "star", "It is a circle, because there is a star in the top left.", False),
        ("State whether the item at the top right is small or large.", "large", scene, True),
        ("State whether the item at the top right is small or large.", "small", scene, False),
        ("What color is the object in the top left?", "red", "The object in the top right is red.", False),
        ("Give the number of items drawn.", "2", scene, True),
        ("Give the number of blue items drawn.", "2", scene, False),
        ("Give the number of blue items drawn.", "1", "There is one red object in the image.", False),
        ("Is there a green star?", "no", "No, there is no green circle in the image.", False),
        ("State whether a blue star was drawn.", "yes", scene, True),
    ]:
        with case(question, answer, text, preserved):
            judged = judge(question, answer, text)
            assert judged is not None
            assert judged.answer_preserved is preserved
