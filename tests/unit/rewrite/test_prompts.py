"""How a model that comes ready is asked: an instruction by kind of task, styles, templates of one's own, versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from polite_flamingo.errors import ConfigError
from polite_flamingo.prompts.rewriting import KINDS, STYLES, SURVIVES, TaskKind, load_prompts, text_of
from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.rewrite.kinds import kind_of
from polite_flamingo.rewrite.question import FIGURE_3, question_of


def sample(task: Task, question: str, answer: str, **extras: object) -> Sample:
    turns = (Turn("human", question, (0,)), Turn("assistant", answer))
    return Sample("s/1", "mine", "train", "x", task, turns, (Image("a.png"),), extras)


@pytest.mark.parametrize(
    ("task", "question", "answer", "extras", "kind"),
    [
        (Task.CAPTION, "Describe the image.", "A red bus in the street.", {}, TaskKind.CAPTION),
        (Task.CAPTION, "What is this?", "golden retriever", {}, TaskKind.CLASSIFICATION),
        (Task.CAPTION, "Describe the image.", "Two dogs.", {"boxes": [["dog", 0, 0, 1, 1]]}, TaskKind.CAPTION),
        (Task.CHANGE, "What changed?", "no change", {}, TaskKind.CHANGE),
        (Task.VQA, "What color is it?", "red", {}, TaskKind.SHORT_ANSWER),
        (
            Task.VQA,
            "Why?",
            "Answer: Rain. It is wet.",
            {"rationales": ["It is wet."]},
            TaskKind.RATIONALE,
        ),
        (Task.VQA, "Is it wet?", "yes because it rains", {}, TaskKind.RATIONALE),
        (Task.VQA, "How many dogs are there?", "2", {}, TaskKind.COUNTING),
        (Task.VQA, "Are there two dogs?", "Answer: No", {}, TaskKind.YES_NO),
        (Task.VQA, 'True or false: "a cat"', "True", {}, TaskKind.YES_NO),
        (Task.VQA, "What does the sign say?", "STOP", {}, TaskKind.TEXT_IN_IMAGE),
        (Task.VQA, "What is the person holding?", "nothing", {}, TaskKind.SHORT_ANSWER),
        (Task.DIALOGUE, "Tell me more.", "It is a red one.", {}, TaskKind.GENERAL),
        (Task.DIALOGUE, "Is it wet?", "yes", {}, TaskKind.YES_NO),
        (Task.DIALOGUE, "How many dogs are there?", "2", {}, TaskKind.COUNTING),
        (Task.TEXT, "What color is the sky?", "light blue", {}, TaskKind.SHORT_ANSWER),
        (Task.REASONING, "Why?", "Rain.", {}, TaskKind.GENERAL),
    ],
)
def test_the_kind_of_task(task, question, answer, extras, kind):
    assert kind_of(sample(task, question, answer, **extras)) is kind


def test_every_style_and_kind_shows_the_answer_and_says_that_it_survives():
    versions = set()
    for style in STYLES:
        for kind, prompt in load_prompts(style).items():
            text = text_of(prompt.messages({"question": "Which?", "answer": "{2} red"}, 1)[1]["content"])
            assert "Which?" in text, (style, kind)
            assert "{2} red" in text, "braces of the data are no fields"
            assert KINDS[kind] in text and SURVIVES in text, (style, kind)
            versions.add(prompt.version)
    assert len(versions) == len(STYLES) * len(TaskKind)


def test_a_template_of_ones_own_and_what_its_change_changes(tmp_path: Path):
    file = tmp_path / "mine.txt"
    file.write_text("\ufeffQ: {question}\nA: {answer}\n{choices} {{kept}} {task}", encoding="utf-8")
    asked = question_of(sample(Task.VQA, "Which?", "red", choices=["red", "blue"]), load_prompts("mine.txt", tmp_path))
    assert text_of(asked.messages()[1]["content"]) == "Q: Which?\nA: red\nred\nblue {kept} short answer"
    assert asked.wording.version.startswith("mine.txt/short answer@")
    file.write_text("Question: {question}\nA: {answer}", encoding="utf-8")
    again = question_of(sample(Task.VQA, "Which?", "red", choices=["red", "blue"]), load_prompts("mine.txt", tmp_path))
    assert again.wording.version != asked.wording.version
    assert again.content() != asked.content(), "a resumed run would take the answers of the other template"


def test_the_trained_rewriter_is_asked_as_in_figure_3_whatever_the_style():
    one = sample(Task.VQA, "Which?", "red")
    assert question_of(one).prompt(str) == question_of(one, load_prompts("concise")).prompt(str)
    assert FIGURE_3.endswith("(Drafted Response): {}\n (Revised Response): ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{question} {answr} {answer}", r"unknown field \{answr\}(.|\n)*\{answer\}(.|\n)*did you mean 'answer'"),
        ("{question}", r"\{answer\} missing"),
        ("{question} {answer.__class__}", "unknown field"),
        ("{question} {answer:>9}", "unknown field"),
        ("{question} {answer} {}", "unknown field"),
        ("{question} {answer} {", "braces"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str):
    (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_prompts("mine.txt", tmp_path)


def test_an_unknown_style_names_those_there_are(tmp_path: Path):
    with pytest.raises(ConfigError, match="polite, concise, stepwise"):
        load_prompts("polit", tmp_path)
