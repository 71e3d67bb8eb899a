from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms import join as module
from polite_flamingo.sources.forms.join import Pair, join


def key(record: Any) -> int:
    if "id" not in record:
        raise DataError("no key", value=record)
    return int(record["id"])


def rows(*ids: int) -> list[dict[str, int]]:
    return [{"id": number, "row": row} for row, number in enumerate(ids)]


def pairs_of(pairs: list[tuple[Any, Any]]) -> list[tuple[int, int]]:
    return [(left["row"], right["row"]) for left, right in pairs if left and right]


def joined(left: Any, right: Any, window: int = 100) -> list[tuple[Any, Any]]:
    return [(pair.left, pair.right) for pair in join(left, right, key, key, window=window)]


def test_pairs_come_in_the_order_of_the_right_side() -> None:
    pairs = joined(rows(1, 2, 3), rows(3, 1, 2))
    assert [(left["id"], right["id"]) for left, right in pairs] == [(3, 3), (1, 1), (2, 2)]


def test_partnerless_records_of_both_sides_come_out() -> None:
    pairs = joined(rows(1, 2, 9), rows(1, 7, 2))
    assert [(left and left["id"], right and right["id"]) for left, right in pairs] == [
        (1, 1),
        (None, 7),
        (2, 2),
        (9, None),
    ]


def test_a_key_that_one_side_repeats_joins_once() -> None:
    pairs = joined(rows(1, 1, 2), rows(1, 2, 2))
    assert sorted((str(left and left["row"]), str(right and right["row"])) for left, right in pairs) == [
        ("0", "0"),
        ("1", "None"),
        ("2", "1"),
        ("None", "2"),
    ]


def test_a_key_that_both_sides_repeat_joins_first_with_first() -> None:
    for window in [1, 2, 100]:
        with case(window):
            assert pairs_of(joined(rows(5, 1, 6, 1, 1), rows(1, 1, 5), window)) == [(1, 0), (3, 1), (0, 2)]


def test_a_record_without_a_key_comes_out_with_the_reason() -> None:
    pairs = list(join([{}, *rows(1)], [*rows(1), {"a": 1}], key, key))
    assert [pair.problem and pair.problem.what for pair in pairs] == ["no key", None, "no key"]
    assert (pairs[0].left, pairs[2].right) == ({}, {"a": 1})


def test_records_left_over_are_still_checked_for_their_key() -> None:
    assert [pair.problem is not None for pair in join([*rows(1), {}], [], key, key)] == [False, True]


def test_any_order_and_any_window_give_the_same_pairs() -> None:
    for seed in range(6):
        for window in [1, 2, 7, 100]:
            with case(window, seed):
                random = Random(seed)
                left = rows(*random.choices(range(40), k=40))
                right = rows(*random.choices(range(40), k=40))
                pairs = joined(left, right, window)
                assert sorted(left_one["row"] for left_one, _ in pairs if left_one) == list(range(40))
                assert [r["row"] for _, r in pairs if r] == list(range(40))
                assert all(a["id"] == b["id"] for a, b in pairs if a and b)
                common = Counter(record["id"] for record in left) & Counter(record["id"] for record in right)
                assert Counter(a["id"] for a, b in pairs if a and b) == common
                assert pairs_of(pairs) == pairs_of(joined(left, right))


def test_records_in_the_same_order_never_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sqlite3, "connect", lambda *_, **__: pytest.fail("went to disk"))
    assert len(joined(rows(*range(500)), rows(*range(500)), window=3)) == 500


def test_no_more_than_the_window_is_pulled_ahead_of_records_in_order() -> None:
    pulled = 0

    def counted() -> Iterator[dict[str, int]]:
        nonlocal pulled
        for row in rows(*range(50)):
            pulled += 1
            yield row

    pairs = join(counted(), rows(*range(50)), key, key)
    assert next(pairs) == Pair({"id": 0, "row": 0}, {"id": 0, "row": 0})
    assert pulled == 1


def test_a_full_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise module.sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module._Far, "put", full)
    with pytest.raises(DataError, match="disk is full"):
        joined(rows(*range(9)), rows(8), window=2)
