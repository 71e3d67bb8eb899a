"""Samples become the turns of dialogues: at random, by best fit, or not at all."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from polite_flamingo.train.data import IGNORED
from polite_flamingo.train.multiturn import (
    DialogueLimits,
    best_fit,
    fill_by_draws,
    fill_in_order,
    join,
    one_by_one,
)
from polite_flamingo.train.store import Segment, Shapes

LIMITS = DialogueLimits(context_length=20, max_turns=4, max_images=4, opening=2, separator=1)


def shapes(lengths, images=None, turns=None, first_learned=None, image_first=None) -> Shapes:
    count = len(lengths)
    images = [0] * count if images is None else images
    return Shapes(
        lengths=np.asarray(lengths, np.int32),
        first_learned=np.asarray([1] * count if first_learned is None else first_learned, np.int32),
        turns=np.asarray([1] * count if turns is None else turns, np.int16),
        images=np.asarray(images, np.int16),
        image_first=np.asarray([n > 0 for n in images] if image_first is None else image_first, bool),
    )


def groups(layout) -> list[list[int]]:
    return [layout.members(i) for i in range(len(layout.lengths))]


def world(count: int = 3000, seed: int = 5) -> tuple[list[int], Shapes]:
    """Samples of many lengths, some with images, in random order."""
    rng = Random(seed)
    lengths = [min(1500, int(rng.lognormvariate(4.5, 0.9)) + 5) for _ in range(count)]
    images = [rng.choice((0, 1, 1, 2)) for _ in range(count)]
    order = list(range(count))
    rng.shuffle(order)
    return order, shapes(lengths, images, turns=[rng.choice((1, 1, 3)) for _ in range(count)])


WIDE = DialogueLimits(context_length=1024, max_turns=32, max_images=16, opening=30, separator=1)


def test_a_dialogue_has_one_opening_and_separators_between_its_samples():
    a = Segment("a", (5, 6), (IGNORED, 6), ("x",), 1)
    b = Segment("b", (7, 8, 9), (IGNORED, 8, 9), ("y", "z"), 1)
    made = join([a, b], [1, 2], [3])
    assert made.input_ids == (1, 2, 5, 6, 3, 7, 8, 9)
    assert made.labels == (IGNORED, IGNORED, IGNORED, 6, IGNORED, IGNORED, 8, 9)
    assert made.images == ("x", "y", "z")
    assert made.id == "a+b"


def test_at_random_a_sample_that_does_not_fit_opens_the_next_dialogue():
    layout = fill_in_order([0, 1, 2], shapes([10, 10, 7]), LIMITS)
    assert groups(layout) == [[0], [1, 2]]
    assert layout.lengths.tolist() == [12, 20]  # 2 + 10 + 1 + 7 = 20 fits exactly


def test_with_draws_every_sample_opens_one_dialogue_that_no_further_draw_fits_beyond_its_bounds():
    order, sizes = world(400)
    layout = fill_by_draws(order, sizes, WIDE, "1:0:fill")
    dialogues = groups(layout)
    assert [group[0] for group in dialogues] == order
    drawn = [i for group in dialogues for i in group[1:]]
    assert len(set(drawn)) < len(drawn), "with replacement"
    assert layout.lengths.mean() > 0.8 * 1024, "padding is filled"
    for group, length in zip(dialogues, layout.lengths.tolist(), strict=True):
        whole = 30 + int(sizes.lengths[group].sum()) + len(group) - 1
        assert length == min(whole, 1024)
        if len(group) > 1:
            assert whole <= 1024
            assert sizes.images[group].sum() <= 16
            assert sizes.turns[group].sum() <= 32


def test_draws_are_a_function_of_the_seed():
    order, sizes = world(200)
    first, again, other = (groups(fill_by_draws(order, sizes, WIDE, seed)) for seed in ("a", "a", "b"))
    assert first == again != other


def test_with_draws_a_sample_too_long_on_its_own_is_cut_and_nothing_joins_it():
    layout = fill_by_draws([0, 1, 2], shapes([30, 18, 30], first_learned=[17, 1, 18]), LIMITS, "a")
    assert groups(layout) == [[0], [1]]
    assert layout.lengths.tolist() == [20, 20]
    assert (layout.truncated, layout.skipped) == (1, 1)
    assert groups(fill_by_draws([], shapes([3]), LIMITS, "a")) == []


@pytest.mark.parametrize("limits", [DialogueLimits(20, 2, 4, 2, 1), DialogueLimits(20, 4, 2, 2, 1)])
@pytest.mark.parametrize("lay", [fill_in_order, best_fit])
def test_turns_and_images_are_bounded(lay, limits):
    layout = lay(range(5), shapes([2] * 5, images=[1] * 5), limits)
    assert sorted(len(group) for group in groups(layout)) == [1, 2, 2]


@pytest.mark.parametrize("lay", [fill_in_order, best_fit, one_by_one])
def test_a_sample_too_long_on_its_own_is_cut_and_counted_or_dropped_and_counted(lay):
    layout = lay([0, 1, 2], shapes([30, 3, 30], first_learned=[17, 1, 18]), LIMITS)
    assert sorted(groups(layout)) == [[0], [1]]
    assert sorted(layout.lengths.tolist()) == [5, 20]
    assert (layout.truncated, layout.skipped) == (1, 1)


@pytest.mark.parametrize("lay", [fill_in_order, best_fit, one_by_one])
def test_every_sample_is_in_one_dialogue_and_no_bound_is_broken(lay):
    order, sizes = world()
    layout = lay(order, sizes, WIDE)
    assert sorted(layout.order.tolist()) == sorted(order)
    for group, length in zip(groups(layout), layout.lengths.tolist(), strict=True):
        whole = 30 + int(sizes.lengths[group].sum()) + len(group) - 1
        assert length == min(whole, 1024)
        if len(group) > 1:
            assert whole <= 1024, "only a sample alone is ever cut"
            assert sizes.images[group].sum() <= 16
            assert sizes.turns[group].sum() <= 32


def test_best_fit_leaves_less_padding_than_fill_in_ordering():
    order, sizes = world()
    padding = [1 - lay(order, sizes, WIDE).lengths.mean() / 1024 for lay in (best_fit, fill_in_order)]
    assert padding[0] < 0.03
    assert padding[0] < padding[1] / 4


def test_in_a_best_fit_no_text_stands_after_a_strange_image():
    order, sizes = world()
    for group in groups(best_fit(order, sizes, WIDE)):
        shown = [bool(sizes.images[i]) for i in group]
        assert shown == sorted(shown), "samples without an image come first"


def test_a_sample_that_shows_its_image_late_stands_alone_in_a_best_fit():
    layout = best_fit(range(4), shapes([3] * 4, images=[1, 1, 0, 1], image_first=[True, False, False, True]), LIMITS)
    assert sorted(groups(layout)) == [[1], [2, 0, 3]]


def test_a_best_fit_is_the_same_for_the_same_order_and_another_for_another():
    order, sizes = world()
    assert groups(best_fit(order, sizes, WIDE)) == groups(best_fit(order, sizes, WIDE))
    assert groups(best_fit(order, sizes, WIDE)) != groups(best_fit(order[::-1], sizes, WIDE))


def test_windows_bound_what_a_best_fit_mixes():
    order, sizes = world()
    place = {sample: rank for rank, sample in enumerate(order)}
    for group in groups(best_fit(order, sizes, WIDE, window=500)):
        assert len({place[sample] // 500 for sample in group}) == 1


@pytest.mark.parametrize("lay", [fill_in_order, best_fit, one_by_one])
def test_no_samples_make_no_dialogues(lay):
    assert groups(lay([], shapes([3]), LIMITS)) == []
