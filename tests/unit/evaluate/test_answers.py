"""Answers: prompts, scores per task, figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate import vqa
from polite_flamingo.evaluate.answers import Judges, as_answer, judge, measurable, neighbours, question_of
from polite_flamingo.evaluate.captioning import best_rouge_l, cider_by_set, references
from polite_flamingo.evaluate.multi_image import change_reference
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Image, Rewrite, Sample, Task, Turn
from polite_flamingo.world.truth import GroundTruth

ENTAILED, CONTRADICTED = [-2.0, 3.0, 0.0], [3.0, -2.0, 0.0]


class Stub:
    """A scorer that looks up `rewritten` (and remembers what it was asked)."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.asked: list[Rewrite] = []

    def score(self, rewrites: Sequence[Rewrite]) -> list[Any]:
        self.asked += rewrites
        return [self.values[r.rewritten] for r in rewrites]


class Overlap:
    """Semantic similarity as the share of common words."""

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        pairs = [(set(r.rewritten.split()), set(r.raw_answer.split())) for r in rewrites]
        return [len(a & b) / len(a | b) for a, b in pairs]


def sample(
    task: Task = Task.VQA, answer: str = "red", question: str = "What color is the circle?", **kw: Any
) -> Sample:
    images = (Image("a.png"), Image("b.png")) if task is Task.CHANGE else (Image("a.png"),)
    shown = tuple(range(len(images)))
    return Sample(
        id=kw.pop("id", f"s/test/{task}"),
        source=kw.pop("source", "vqav2"),
        split=kw.pop("split", "test"),
        licence="x",
        task=task,
        turns=(Turn("human", question, shown), Turn("assistant", answer)),
        images=images,
        extras=kw,
    )


def judges(texts: Sequence[str], nli: dict[str, Any] | None = None, world: GroundTruth | None = None) -> Judges:
    return Judges(Overlap(), Stub(nli or {}), Stub({text: float(i) for i, text in enumerate(texts)}), world)


def test_a_question_shows_every_image_before_its_text() -> None:
    prompt, images = question_of(sample(Task.CHANGE, question="What changed?"))
    assert prompt.endswith("### Human: <image><|endofchunk|><image><|endofchunk|>What changed?\n### Assistant: ")
    assert images == ("a.png", "b.png")


def test_a_blind_question_has_neither_image_nor_image_token() -> None:
    prompt, images = question_of(sample(), with_images=False)
    assert prompt.endswith("### Human: What color is the circle?\n### Assistant: ")
    assert images == ()


def test_only_the_first_question_of_a_dialogue_is_asked() -> None:
    turns = (Turn("human", "One?"), Turn("assistant", "1"), Turn("human", "Two?"), Turn("assistant", "2"))
    dialogue = Sample("s/test/1", "vqav2", "test", "x", Task.VQA, turns)
    prompt, _ = question_of(dialogue)
    assert "Two?" not in prompt
    assert as_answer(dialogue, "It is one.").raw_answer == "1"


def test_a_vqa_answer_is_right_when_entailment_has_the_highest_logit() -> None:
    assert vqa.is_entailed([0.1, 0.2, 0.15])
    assert not vqa.is_entailed([0.1, 0.2, 0.25])
    assert not vqa.is_entailed([0.3, 0.2, 0.25])


def test_the_nli_judge_sees_the_models_answer_and_the_annotated_one() -> None:
    nli = Stub({"It is red.": ENTAILED})
    panel = Judges(Overlap(), nli, Stub({"It is red.": 1.0}))
    judge([as_answer(sample(), "It is red.")], panel)
    assert [(r.rewritten, r.raw_answer, r.instruction) for r in nli.asked] == [
        ("It is red.", "red", "What color is the circle?")
    ]


def test_scores_reach_the_answer_of_their_task() -> None:
    samples = [sample(), sample(Task.CAPTION, "a red circle", captions=["a red circle", "one shape"])]
    texts = ["It is red.", "one shape"]
    answers = [as_answer(s, t) for s, t in zip(samples, texts, strict=True)]
    question, caption = judge(answers, judges(texts, {"It is red.": ENTAILED}))
    assert question.scores == {"reward": 0.0, "rouge_l": 0.5, "nli": ENTAILED, "entailed": True, "exact": None}
    assert caption.scores == {"reward": 1.0, "rouge_l": 1.0, "sts": 1.0}


def test_captions_have_cider_in_their_set_and_chair_where_objects_are_annotated() -> None:
    boxes = {"boxes": [["dog", 0.1, 0.1, 0.5, 0.5]], "captions": ["a dog runs", "a boy"]}
    samples = [
        sample(Task.CAPTION, "a dog runs", id="s/test/1", **boxes),
        sample(Task.CAPTION, "a red circle", id="s/test/2"),
    ]
    texts = ["a dog runs after two cats", "a red circle"]
    cider = cider_by_set(as_answer(s, s.response) for s in samples)
    panel = replace(judges(texts), cider=cider)
    real, drawn = (a.scores for a in judge([as_answer(s, t) for s, t in zip(samples, texts, strict=True)], panel))
    assert (real["objects"], real["chair_s"], real["chair_i"]) == (2, True, 0.5)
    assert real["cider"] == cider["vqav2"].score(texts[0], ["a dog runs", "a boy"]) > 0
    assert set(drawn) == {"reward", "rouge_l", "sts", "cider"}


def test_ground_truth_and_the_nli_judge_may_disagree_and_both_are_kept() -> None:
    world = GroundTruth({"a.png": frozenset({("red", "circle")})})
    answers = [as_answer(sample(), text) for text in ("The circle is red.", "The circle is blue.")]
    nli = {"The circle is red.": CONTRADICTED, "The circle is blue.": ENTAILED}
    scored = judge(answers, judges(list(nli), nli, world))
    assert [(a.scores["entailed"], a.scores["exact"]) for a in scored] == [(False, True), (True, False)]


def test_a_caption_is_compared_with_the_closest_reference() -> None:
    captions = ["two blue squares", "a red circle in the top left"]
    assert best_rouge_l("a red circle in the top left", captions) == pytest.approx(1.0)
    assert best_rouge_l("anything", []) == 0.0


def test_references_come_without_the_boxes() -> None:
    raw = f"a red circle\na shape\n\n{BOX_SENTENCE}\nred circle: [0.1, 0.1, 0.2, 0.2]"
    assert references(raw, {}) == ["a red circle", "a shape"]


def test_all_sentences_of_a_change_are_one_reference() -> None:
    assert change_reference("the circle is gone\na square appeared", {}) == ["the circle is gone a square appeared"]


@pytest.mark.parametrize(
    ("task", "extras", "annotated"),
    [
        (Task.VQA, {"short_answer": "red"}, "red"),  # A-OKVQA, VQA-E, ScienceQA: without the rationale
        (Task.CAPTION, {"labels": ["ant", "beetle"]}, "ant and beetle"),  # ELEVATER: without knowledge of the class
        (Task.VQA, {"answers": ["crimson"]}, "red, because it glows"),
    ],
)
def test_a_question_is_judged_by_the_short_answer(task: Task, extras: dict[str, Any], annotated: str) -> None:
    nli = Stub({"It is.": ENTAILED})
    asked = as_answer(sample(task, "red, because it glows", **extras), "It is.")
    (scored,) = judge([asked], Judges(Overlap(), nli, Stub({"It is.": 1.0})))
    assert [answer.raw_answer for answer in nli.asked] == [annotated]
    assert set(scored.scores) == {"reward", "rouge_l", "nli", "entailed", "exact"}
    assert scored.raw_answer == "red, because it glows"


def test_the_lower_bound_is_another_samples_annotation() -> None:
    changes = [sample(Task.CHANGE, f"a {i}\nb {i}", id=str(i)) for i in range(4)]
    alone = sample(Task.CHANGE, "c", id="5", source="levir_cc")
    found = neighbours([*changes, sample(id="6"), alone])
    assert [(answer.id, answer.rewritten) for answer in found] == [
        ("0", "a 2 b 2"),
        ("1", "a 3 b 3"),
        ("2", "a 0 b 0"),
        ("3", "a 1 b 1"),
    ]


def test_an_evaluation_without_a_sample_it_can_measure_says_what_to_do() -> None:
    text = Sample("s/test/1", "ultrachat", "test", "x", Task.TEXT, (Turn("human", "Hi"), Turn("assistant", "Hello")))
    with pytest.raises(DataError, match="role `evaluation`"):
        measurable([text])


def test_reading_and_judging_answers_loads_no_model_library() -> None:
    import subprocess

    code = (
        "import sys, polite_flamingo.evaluate.answers, polite_flamingo.stages.evaluate as e; "
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
