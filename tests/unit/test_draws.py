"""Draws by the hash of a name: the smallest keys, however they arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polite_flamingo.draws import LARGEST, Smallest, key, keys


@given(
    arriving=st.lists(st.lists(st.integers(0, LARGEST), max_size=9), max_size=9),
    limit=st.integers(0, 12),
    count=st.integers(0, 14),
)
def test_what_is_held_are_the_smallest_keys_of_all_that_arrived(
    arriving: list[list[int]], limit: int, count: int
) -> None:
    smallest, seen = Smallest(limit), 0
    for chunk in arriving:
        smallest.add(chunk, range(seen, seen + len(chunk)))
        seen += len(chunk)
    flat = [its_key for chunk in arriving for its_key in chunk]
    expected = sorted(flat)[: min(limit, count)]
    assert len(smallest) == min(limit, len(flat))
    assert smallest.bound(count) == (expected[-1] if expected else -1)
    assert sorted(flat[number] for number in smallest.numbers(count)) == expected
    assert all(its_key <= smallest.ceiling for its_key in sorted(flat)[:limit])


def test_a_name_has_one_key_alone_and_among_others() -> None:
    assert keys(["a", "b", "ü"]).tolist() == [key("a"), key("b"), key("ü")]
