"""Figures by evaluation set, and their means over sets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polite_flamingo.evaluate.bootstrap import bootstrap_mean, mean_over_sets
from polite_flamingo.evaluate.sets import measure, measure_sets, outcomes
from polite_flamingo.records import Image, Rewrite, Task

SEEN = {"vqav2", "gqa", "coco", "elevater_mnist"}


def answer(
    number: int, source: str, right: float = 1.0, *, task: Task = Task.VQA, split: str = "val", **extras: object
) -> Rewrite:
    scores = {"reward": float(number), "rouge_l": right / 2, "sts": right, "entailed": bool(right), "exact": None}
    images = (Image("a.png"), Image("b.png")) if source in ("nlvr2", "spot_the_diff") else (Image("a.png"),)
    asked = (f"{source}/{split}/{number}", source, split, "-", task, "What?", images, "red", "It is red.", "stop")
    return Rewrite(*asked, extras=extras, scores=scores)


ANSWERS = [
    *(answer(i, "vqav2") for i in range(3)),
    answer(3, "gqa", 0.0),
    answer(4, "vqav2", 0.0, split="out_of_domain"),
    answer(5, "okvqa"),
    answer(6, "elevater_mnist", task=Task.CAPTION, labels=["3"]),
    answer(7, "elevater_dtd", 0.0, task=Task.CAPTION, labels=["wool"]),
    answer(8, "coco", task=Task.CAPTION),
    answer(9, "nlvr2", 0.0, statement="Both are red."),
    answer(10, "spot_the_diff", task=Task.CHANGE),
]
DRAWS = {"resamples": 50, "seed": 1}


def test_a_set_is_a_data_set_in_domain_if_it_is_trained_on() -> None:
    rows = measure_sets({"m": ANSWERS}, seen_sources=SEEN, **DRAWS)
    assert [(name, row["kind"], row["in_domain"], row["n"]) for name, row in rows.items()] == [
        ("coco", "caption", True, 1),
        ("spot_the_diff", "change", False, 1),
        ("nlvr2", "pair", False, 1),
        ("elevater", "question", True, 2),
        ("gqa", "question", True, 1),
        ("vqav2", "question", True, 3),
        ("okvqa", "question", False, 1),
        ("vqav2/out_of_domain", "question", False, 1),
    ]
    both = [answer(0, "own"), answer(1, "own", task=Task.CAPTION)]
    assert set(measure_sets({"m": both}, seen_sources=SEEN, **DRAWS)) == {"own (caption)", "own (question)"}
    assert rows["elevater"]["models"]["m"]["nli"]["value"] == 0.5
    assert rows["nlvr2"]["models"]["m"]["sts"]["value"] == 0.0


def test_accuracies_are_means_over_sets_and_the_reward_is_over_samples() -> None:
    found = measure(ANSWERS, seen_sources=SEEN, purpose="m", **DRAWS)
    assert found["qa_in_domain"]["value"] == pytest.approx((1.0 + 0.0 + 0.5) / 3)  # vqav2, gqa, elevater
    assert (found["qa_out_of_domain"]["value"], found["qa_out_of_domain"]["n"]) == (0.5, 2)  # nlvr2 is no question
    assert found["qa_in_domain_rouge_l"]["value"] == pytest.approx(0.25)
    assert found["caption_sts"]["n"] == found["change_sts"]["n"] == 1
    assert (found["reward"]["value"], found["reward"]["n"]) == (5.0, len(ANSWERS))
    assert found["qa_in_domain_exact"]["n"] == 0


def test_a_score_of_every_sample_stands_behind_each_figure() -> None:
    found = outcomes(ANSWERS, seen_sources=SEEN)
    assert {key: len(values) for key, values in found.items() if values} == {
        "qa_in_domain": 6,
        "qa_out_of_domain": 2,
        "caption_rouge_l": 1,
        "caption_sts": 1,
        "change_rouge_l": 1,
        "change_sts": 1,
        "reward": 11,
    }


def test_each_set_counts_the_same_and_one_alone_is_an_ordinary_mean() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    alone = mean_over_sets({"a": values, "empty": []}, purpose="p", **DRAWS)
    assert alone == bootstrap_mean(values, purpose="p:a", **DRAWS)
    both = mean_over_sets({"a": values, "b": [0.2]}, purpose="p", **DRAWS)
    assert both.value == pytest.approx(0.4)
    assert both.n == 6
    assert both.low is not None and both.high is not None and alone.low is not None
    assert both.low == pytest.approx((alone.low + 0.2) / 2)


def test_invented_objects_are_counted_among_all_objects_of_a_set() -> None:
    named = [(0, None), (1, 1.0), (3, 0.0)]  # objects in a caption, share of them that is invented
    captions = [
        replace(caption, scores={"objects": objects, "chair_i": share, "chair_s": bool(share)})
        for i, (objects, share) in enumerate(named)
        for caption in [answer(i, "coco", task=Task.CAPTION)]
    ]
    found = measure(captions, seen_sources=SEEN, purpose="m", **DRAWS)
    assert (found["caption_chair_i"]["value"], found["caption_chair_i"]["n"]) == (0.25, 2)
    assert (found["caption_chair_i"]["low"], found["caption_chair_i"]["high"]) == (0.0, 1.0)
    assert found["caption_chair_s"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    row = measure_sets({"m": captions}, seen_sources=SEEN, **DRAWS)["coco"]["models"]["m"]
    assert row["chair_i"] == found["caption_chair_i"]
    assert row["objects"]["value"] == pytest.approx(4 / 3, abs=1e-6)
