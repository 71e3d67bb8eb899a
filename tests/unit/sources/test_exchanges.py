"""Dialogues as annotations: nothing of them is lost, and each part has the task whose filters fit it."""

from __future__ import annotations

from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.sources.exchanges import exchanges


def _sample(*pairs: tuple[str, str, tuple[int, ...]], task: Task = Task.DIALOGUE) -> Sample:
    turns = [
        turn for asked, answer, images in pairs for turn in (Turn("human", asked, images), Turn("assistant", answer))
    ]
    return Sample("mine/all/a", "mine", "all", "-", task, tuple(turns), (Image("1.png"), Image("2.png")))


def test_each_question_shows_the_images_seen_by_then() -> None:
    talk = _sample(("Hi", "Hello.", ()), ("How many?", "2", (1,)), ("And here?", "3", (0,)))
    parts = list(exchanges(talk))
    assert [part.id for part in parts] == ["mine/all/a", "mine/all/a#2", "mine/all/a#3"]
    assert [(part.instruction, part.response) for part in parts] == [
        ("Hi", "Hello."),
        ("How many?", "2"),
        ("And here?", "3"),
    ]
    assert [[image.path for image in part.images] for part in parts] == [[], ["2.png"], ["2.png", "1.png"]]
    assert [part.turns[0].images for part in parts] == [(), (0,), (0, 1)]


def test_the_task_is_what_the_part_asks_for() -> None:
    long = "The man holds a kite, which flies high above the beach and the sea behind him."
    parts = exchanges(_sample(("Left of what?", "tree", (0,)), ("Describe it.", "a tree", ()), ("Go on.", long, ())))
    assert [part.task for part in parts] == [Task.VQA, Task.CAPTION, Task.DIALOGUE]
    reasoned = _sample(("Why?", "So.", (0, 1)), task=Task.REASONING)
    assert list(exchanges(reasoned)) == [reasoned]
