"""Where runs, figures and settings are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from polite_flamingo.tracking.base import NullTracker, StageTracker, Work


@contextmanager
def start_tracker(kind: str, work: Work) -> Iterator[StageTracker]:
    """Open a tracker for one stage and close it with the stage's outcome.

    Args:
        kind: ``runtime.tracking`` of the profile: ``mlflow`` or ``none``.
        work: The stage, and what it is run with.
    """
    if kind == "none":
        yield NullTracker()
        return
    from polite_flamingo.tracking.mlflow import stage_run

    with stage_run(work) as tracker:
        yield tracker
