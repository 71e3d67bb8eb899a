"""Shards that are damaged, and rows that are no records."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.io.shards import count_shards, read_shards, write_shard
from polite_flamingo.io.text import Row
from polite_flamingo.records import Image, Sample, Task, Turn


def sample() -> Sample:
    turns = (Turn("human", "What is it?", (0,)), Turn("assistant", "A cat."))
    return Sample("s/1", "s", "all", "CC0", Task.VQA, turns, (Image("a.png"),), {"answers": ["cat"]})


def test_a_damaged_shard_is_a_clear_error_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "part-000000.parquet"
    write_shard(path, [sample().to_row()])
    whole = path.read_bytes()
    draw = random.Random(2)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with suppress(DataError):
            list(map(Sample.from_row, read_shards(tmp_path)))
            count_shards(tmp_path)


@pytest.mark.parametrize(
    "odd", [{"turns": "[["}, {"turns": "5"}, {"turns": "[[1,2,3]]"}, {"images": "[5]"}, {"task": "x"}, {"extras": "["}]
)
def test_an_odd_record_is_a_clear_error(odd: Row) -> None:
    with pytest.raises(DataError):
        Sample.from_row({**sample().to_row(), **odd})
    with pytest.raises(DataError):
        Sample.from_row({"id": "s/1"})
