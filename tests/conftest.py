"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# a machine busy with other work is no failure, and a run tries the same values each time
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", derandomize=True, database=None, **COMMON)
settings.load_profile("repeatable")
if tries := os.environ.get("POLITE_FLAMINGO_TRIES"):  # so many tries of each property, other ones every time
    settings.register_profile("search", max_examples=int(tries), **COMMON)
    settings.load_profile("search")
