"""Each item once, longest first, and half as many where memory ends."""

from __future__ import annotations

import pytest
import torch
from tests.unit.cases import case

from polite_flamingo.errors import ModelError
from polite_flamingo.scorers.batching import LEAST_ROWS, Batches


class Model:
    """Counts letters; more than `room` rows do not fit."""

    def __init__(self, room: int = 1000, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.calls: list[list[str]] = []
        self.room, self.error = room, error

    def __call__(self, items: list[str]) -> list[int]:
        if len(items) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate")
        self.calls.append(items)
        return [len(item) for item in items]


def lengths(items: list[str]) -> list[int]:
    return [len(item) for item in items]


def test_an_item_is_computed_once_in_a_call_and_once_over_calls() -> None:
    model = Model()
    batches = Batches(model, lengths)
    assert batches(["a", "bb", "a"]) == {"a": 1, "bb": 2}
    assert batches(["bb", "ccc"]) == {"bb": 2, "ccc": 3}
    assert [set(call) for call in model.calls] == [{"a", "bb"}, {"ccc"}]


def test_what_is_remembered_is_bounded_and_the_least_recently_used_goes() -> None:
    model = Model()
    batches = Batches(model, kept=2)
    batches(["a", "b"])
    batches(["a"])
    batches(["c"])
    batches(["a"])
    assert len(model.calls) == 2
    batches(["b"])
    assert len(model.calls) == 3


def test_the_area_of_a_batch_is_bounded_and_little_of_it_is_padding() -> None:
    model = Model()
    Batches(model, lengths, rows=100, area=160)([*(f"{i:010d}" for i in range(20)), *(f"{i:04d}" for i in range(60))])
    assert [len(call) for call in model.calls] == [16, 8, 40, 16]
    assert [{len(item) for item in call} for call in model.calls] == [{10}, {10, 4}, {4}, {4}]


def test_a_small_batch_is_filled_up() -> None:
    model = Model()
    assert Batches(model)(["abc"]) == {"abc": 3}
    assert model.calls == [["abc"] * LEAST_ROWS]


def test_where_memory_ends_batches_are_halved_and_nothing_is_missing() -> None:
    for room in [1, 3, 8, 30]:
        for error in [torch.OutOfMemoryError, MemoryError]:
            with case(room, error):
                model = Model(room, error)
                items = [f"{i:03d}" for i in range(100)]
                found = Batches(model, rows=64)(items)
                assert found == dict.fromkeys(items, 3)
                assert max(map(len, model.calls)) <= room


def test_an_item_too_large_alone_is_an_error_and_no_empty_score() -> None:
    with pytest.raises(ModelError, match="does not fit into memory"):
        Batches(Model(0))(["abc", "d"])


def test_other_errors_are_not_taken_for_missing_memory() -> None:
    def broken(items: list[str]) -> list[int]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Batches(broken)(["a"])
