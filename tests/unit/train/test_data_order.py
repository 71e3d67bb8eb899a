"""Mixtures and batches."""

from __future__ import annotations

from collections import Counter

import pytest

from polite_flamingo.errors import ConfigError
from polite_flamingo.train.data import IGNORED, Example
from polite_flamingo.train.feed import collate, epoch_batches
from polite_flamingo.train.mixture import draw, ratio_counts, raw_mixture, sqrt_counts

GROUPS = {"a": range(10), "b": range(10, 14)}
SIZES = {"a": 10, "b": 4}


def drawn(ratios, *, seed=1, epoch=0):
    return draw(GROUPS, ratio_counts(SIZES, ratios), seed=seed, epoch=epoch).tolist()


def test_a_ratio_of_one_takes_everything_once():
    assert sorted(drawn({"a": 1.0, "b": 1.0})) == list(range(14))


def test_a_part_outside_the_mixture_is_not_drawn():
    assert set(drawn({"b": 1.0})) == set(GROUPS["b"])


def test_a_fraction_is_drawn_without_replacement_and_anew_each_epoch():
    first, second = (drawn({"a": 0.5}, epoch=e) for e in (0, 1))
    assert len(first) == len(set(first)) == 5
    assert set(first) != set(second)


def test_more_than_one_repeats_the_whole_part_first():
    assert sorted(Counter(drawn({"b": 1.5})).values()) == [1, 1, 2, 2]


def test_the_draw_depends_on_seed_and_epoch_only():
    assert drawn({"a": 1.0}, epoch=3) == drawn({"a": 1.0}, epoch=3)
    assert drawn({"a": 1.0}, epoch=3) != drawn({"a": 1.0}, seed=2, epoch=3)


@pytest.mark.parametrize("mixture", [{"c": 1.0}, {"a": -0.1}])
def test_a_bad_mixture_is_a_config_error(mixture):
    with pytest.raises(ConfigError):
        ratio_counts(SIZES, mixture)


def test_square_roots_keep_the_total_and_lift_the_small():
    counts = sqrt_counts({"large": 10_000, "small": 100}, {"large": 1.0, "small": 1.0}, 10_100)
    assert sum(counts.values()) == 10_100
    assert counts["large"] / counts["small"] == pytest.approx(10, rel=0.01)  # as the square roots, not 100 to 1


def test_square_roots_respect_the_ratio_of_the_part():
    counts = sqrt_counts({"x": 100, "y": 100, "z": 100}, {"x": 1.0, "y": 0.5, "z": 0.0}, 150)
    assert counts == {"x": 100, "y": 50, "z": 0}


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


def test_the_comparison_replaces_pf1m_by_raw():
    assert raw_mixture({"instruction": 1.0, "pf1m": 0.5}) == {"instruction": 1.0, "raw": 0.5}
