import os
import pickle
import tracemalloc
from collections import OrderedDict
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms.pickles import load_plain

PLAIN = [{"ref_id": 1, "sent_ids": [0, 1], "sent": "a café", "box": (1.5, None), "ok": True, "tags": {"a"}}]


def test_plain_data_of_every_protocol_is_loaded(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with case(protocol):
            (tmp_path / "a.p").write_bytes(pickle.dumps(PLAIN, protocol))
            assert load_plain(tmp_path / "a.p") == PLAIN


def test_strings_of_python_2_are_taken_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.p").write_bytes(b"(lp0\nS'caf\\xc3\\xa9'\np1\naVcaf\\u00e9\np2\naI5\na.")
    assert load_plain(tmp_path / "a.p") == ["café", "café", 5]


class Call:
    """Its pickle calls a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], tuple(self.call[1:])


def test_anything_else_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = (Call(os.mkdir, "ran"), Call(eval, "1"), OrderedDict(a=1), Path("a"), Call(getattr, "", "join"))
    for value, protocol in product(calls, (0, 2, 4)):
        with case(value, protocol):
            (tmp_path / "a.p").write_bytes(pickle.dumps([value], protocol))
            with pytest.raises(DataError, match="plain data alone"):
                load_plain(tmp_path / "a.p")
            assert not (tmp_path / "ran").exists()


def test_a_broken_pickle_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\x80", b"not a pickle", b"(lp0\n", b"X\xff\xff\xff\x7fabc", b"Pid\n."):
        (tmp_path / "a.p").write_bytes(data)
        with case(data), pytest.raises(DataError, match="plain data alone"):
            load_plain(tmp_path / "a.p")


def test_a_huge_memo_index_asks_for_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.p").write_bytes(b"]r\xff\xff\xff\xff.")
    assert load_plain(tmp_path / "a.p") == []


def test_a_bytearray_is_refused_before_it_takes_the_memory_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "a.p").write_bytes(b"\x96" + (1 << 28).to_bytes(8, "little") + b".")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="plain data alone"):
            load_plain(tmp_path / "a.p")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_flipped_bytes_give_plain_data_or_a_data_error(tmp_path: Path) -> None:
    rng = Random(0)
    whole = pickle.dumps(PLAIN * 3, 2)
    for _ in range(1000):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "a.p").write_bytes(data)
        try:
            load_plain(tmp_path / "a.p")
        except DataError as error:
            assert "plain data" in error.what


def test_a_missing_and_an_oversized_pickle_are_named(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*a\.p"):
        load_plain(tmp_path / "a.p")
    monkeypatch.setattr("polite_flamingo.sources.forms.pickles.MAX_BYTES", 3)
    (tmp_path / "a.p").write_bytes(pickle.dumps(PLAIN))
    with pytest.raises(DataError, match="too large"):
        load_plain(tmp_path / "a.p")
