"""Locks between processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polite_flamingo.errors import BusyError
from polite_flamingo.io.locks import locked


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()  # of a holder that was killed
    with locked(path):
        with pytest.raises(BusyError, match=rf"process {os.getpid()} on .+, `.*`, since \d{{4}}-"), locked(path):
            pass
        assert path.exists(), "the refused one does not take it away"
    assert not path.exists()
