"""The store of photographs' features survives a kill at any byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polite_flamingo.laptop.features import FeatureStore

SHAPE = (2, 3)
NAMES = [f"{number:064x}" for number in range(5)]
ROWS = np.arange(30, dtype=np.float16).reshape(5, *SHAPE)


@pytest.mark.parametrize(("rows_cut", "hashes_cut"), [(0, 0), (5, 0), (0, 10), (13, 70), (60, 325)])
def test_what_is_whole_is_kept_and_the_rest_comes_again(tmp_path: Path, rows_cut: int, hashes_cut: int) -> None:
    FeatureStore(tmp_path, SHAPE).append(NAMES, ROWS)
    for name, cut in (("rows.f16", rows_cut), ("hashes.txt", hashes_cut)):
        with (tmp_path / name).open("r+b") as file:
            file.truncate((tmp_path / name).stat().st_size - cut)
    store = FeatureStore(tmp_path, SHAPE)
    kept = len(store.places)
    assert kept == 5 - max(-(-rows_cut // 12), -(-hashes_cut // 65))
    store.append(NAMES[kept:], ROWS[kept:])
    again = FeatureStore(tmp_path, SHAPE)
    np.testing.assert_array_equal(again.rows()[[again.places[name] for name in NAMES]], ROWS)
