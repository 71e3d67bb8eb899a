"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# a machine busy with other work is no failure
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
