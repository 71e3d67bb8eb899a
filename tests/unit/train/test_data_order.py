"""Mixtures, batches and the parts of the U."""

from __future__ import annotations

from collections import Counter

import pytest

from polite_flamingo.errors import ConfigError
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.train.collate import IGNORED, Example, collate, epoch_batches
from polite_flamingo.train.mixture import draw
from polite_flamingo.train.ushape import raw_mixture, training_parts

PARTS = {"a": [f"a{i}" for i in range(10)], "b": [f"b{i}" for i in range(4)]}


def test_a_ratio_of_one_takes_everything_once():
    assert sorted(draw(PARTS, {"a": 1.0, "b": 1.0}, seed=1, epoch=0)) == sorted(PARTS["a"] + PARTS["b"])


def test_a_part_outside_the_mixture_is_not_drawn():
    assert set(draw(PARTS, {"b": 1.0}, seed=1, epoch=0)) == set(PARTS["b"])


def test_a_fraction_is_drawn_without_replacement_and_anew_each_epoch():
    first, second = (draw(PARTS, {"a": 0.5}, seed=1, epoch=e) for e in (0, 1))
    assert len(first) == len(set(first)) == 5
    assert set(first) != set(second)


def test_more_than_one_repeats_the_whole_part_first():
    assert sorted(Counter(draw(PARTS, {"b": 1.5}, seed=1, epoch=0)).values()) == [1, 1, 2, 2]


def test_the_draw_depends_on_seed_and_epoch_only():
    assert draw(PARTS, {"a": 1.0}, seed=1, epoch=3) == draw(PARTS, {"a": 1.0}, seed=1, epoch=3)
    assert draw(PARTS, {"a": 1.0}, seed=1, epoch=3) != draw(PARTS, {"a": 1.0}, seed=2, epoch=3)


@pytest.mark.parametrize("mixture", [{"c": 1.0}, {"a": -0.1}])
def test_a_bad_mixture_is_a_config_error(mixture):
    with pytest.raises(ConfigError):
        draw(PARTS, mixture, seed=1, epoch=0)


def test_batches_are_full_hold_every_example_and_near_equal_lengths():
    lengths = [(i * 37) % 100 for i in range(130)]
    batches = epoch_batches(lengths, 8, seed=1, epoch=0)
    assert all(len(batch) == 8 for batch in batches)
    assert {i for batch in batches for i in batch} == set(range(130))
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert sum(spread) / len(spread) < 40
    assert batches != epoch_batches(lengths, 8, seed=1, epoch=1)


def test_few_examples_still_fill_a_batch():
    (batch,) = epoch_batches([1, 2, 3], 8, seed=1, epoch=0)
    assert len(batch) == 8
    assert sorted(Counter(batch).values()) == [2, 3, 3]


def test_a_batch_is_padded_on_the_right_and_shares_its_images():
    batch = collate(
        [
            Example("x", (5, 6, 7), (IGNORED, 6, 7), ("i", "j", "i")),
            Example("y", (5,), (5,), ("j",)),
            Example("z", (5,), (5,)),
        ],
        pad_id=0,
    )
    assert batch.input_ids.tolist() == [[5, 6, 7], [5, 0, 0], [5, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert batch.labels.tolist()[1] == [5, IGNORED, IGNORED]
    assert batch.images == ("i", "j")
    assert batch.image_index.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert batch.supervised == 2  # a first token is never predicted


def test_probes_are_never_trained_on_and_raw_keeps_the_same_records():
    def record(name: str, **extras: str) -> Rewrite:
        return Rewrite(name, "s", "train", "x", Task.VQA, "q ?", (Image("a.png"),), "red", "It is red.", "stop", extras)

    parts = training_parts([], [record("1"), record("2!probe", probe="answer_changed")])
    assert [(s.id, s.response, s.turns[0].images) for s in parts["pf1m"]] == [("1", "It is red.", (0,))]
    assert [(s.id, s.response) for s in parts["raw"]] == [("1", "red")]


def test_the_comparison_replaces_pf1m_by_raw():
    assert raw_mixture({"instruction": 1.0, "pf1m": 0.5}) == {"instruction": 1.0, "raw": 0.5}
