"""Right rewrites and injected errors of real records. Needs a data root; see POLITE_FLAMINGO_REAL_DATA."""

import os
from collections import Counter
from pathlib import Path

import pytest

from polite_flamingo.calibrate.clean import clean_rewrites
from polite_flamingo.calibrate.corruptions import CORRUPTIONS
from polite_flamingo.calibrate.labels import inject

ROOT = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not ROOT.is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder"),
]


def test_five_hundred_real_records_get_an_error_each_and_every_kind_is_frequent() -> None:
    clean = list(clean_rewrites(ROOT, seed=42))
    copies = inject(clean, seed=42)
    kinds = Counter(copy.extras["probe"] for copy in copies)
    assert len(copies) >= 500
    assert kinds.keys() == CORRUPTIONS.keys()
    assert min(kinds.values()) >= 50
    assert len({rewrite.source for rewrite in clean}) >= 6
