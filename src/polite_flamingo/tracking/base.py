"""What a stage may report while it runs. Science code sees this protocol only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """A run in some experiment tracker."""

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings once."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log figures, at a step of training or as results."""

    def artifact(self, path: Path) -> None:
        """Attach a file (a figure, a report)."""


class NullTracker:
    """Logs nothing."""

    def params(self, values: Mapping[str, object]) -> None:
        """Ignore."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Ignore."""

    def artifact(self, path: Path) -> None:
        """Ignore."""
