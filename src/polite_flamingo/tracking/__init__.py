"""Where runs, figures and settings are recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from polite_flamingo.tracking.base import NullTracker, Tracker


@contextmanager
def start_tracker(kind: str, *, stage: str, profile: str, settings: Mapping[str, object]) -> Iterator[Tracker]:
    """Open a tracker for one stage and close it with the stage's outcome.

    Args:
        kind: ``runtime.tracking`` of the profile: ``mlflow`` or ``none``.
        stage: Name of the stage, becomes the run's name.
        profile: Name of the profile, becomes a tag.
        settings: Parameters to log, nested mappings allowed.
    """
    if kind == "none":
        yield NullTracker()
        return
    from polite_flamingo.tracking.mlflow import stage_run

    with stage_run(stage, profile, settings) as tracker:
        yield tracker
