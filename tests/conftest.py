"""Settings of all tests."""

from __future__ import annotations

import gc
import os
from itertools import groupby, zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

gc.set_threshold(50_000, 20, 100)  # a million objects of imported libraries, none of them garbage: look at them seldom
WAITING = Path(__file__).parent / "pipeline"

# a machine busy with other work is no failure, and a run tries the same values each time
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", derandomize=True, database=None, **COMMON)
settings.load_profile("repeatable")
if tries := os.environ.get("POLITE_FLAMINGO_TRIES"):  # so many tries of each property, other ones every time
    settings.register_profile("search", max_examples=int(tries), **COMMON)
    settings.load_profile("search")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that wait for servers and killed processes between those that compute: workers share cores."""
    files = [list(tests) for _, tests in groupby(items, key=lambda test: test.path)]
    waiting = [tests for tests in files if tests[0].path.parent == WAITING]
    others = [tests for tests in files if tests[0].path.parent != WAITING]
    step = max(1, 3 * len(others) // (4 * len(waiting) + 1))  # none among the last quarter
    batches = [others[at : at + step] for at in range(0, len(others), step)]
    ordered = [tests for own, batch in zip_longest(waiting, batches, fillvalue=[]) for tests in (own, *batch)]
    items[:] = [test for tests in ordered for test in tests]
