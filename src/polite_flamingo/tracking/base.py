"""What a stage may report while it runs. Science sees `Tracker` only; whoever runs a stage, `StageTracker`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from polite_flamingo.errors import SHOWN, refusal

LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """What is known of a stage before it runs.

    Args:
        stage: Its name, which becomes its run's name.
        profile: Name of the profile.
        settings: All parameters, nested mappings allowed.
        changes: Dotted name -> value of the parameters that differ from the profile's.
        upstream: Stages whose outputs are up to date once this one has ended: its ancestors in dvc.yaml and itself.
    """

    stage: str
    profile: str
    settings: Mapping[str, object] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataInput:
    """Data that a stage reads.

    Args:
        name: What people call it.
        folder: Where it lies.
        digest: What tells it from any other content: DVC's md5, else one of names and sizes.
        context: What it is for: ``curation``, ``training`` or ``evaluation``.
        columns: Name -> type.
        profile: Its counts: ``num_rows`` and the shares of its licences, sources and tasks.
    """

    name: str
    folder: Path
    digest: str
    context: str
    columns: Mapping[str, str]
    profile: Mapping[str, Any]


class Tracker(Protocol):
    """A run in some experiment tracker."""

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings once."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log figures, at a step of training or as results."""

    def artifact(self, path: Path) -> None:
        """Attach a file (a figure, a report)."""


class StageTracker(Tracker, Protocol):
    """The run of a stage together with that of its pipeline, which gets what people compare."""

    def inputs(self, own: Sequence[DataInput], upstream: Sequence[DataInput]) -> None:
        """Log the data that the stage reads, and for the pipeline's run that of all stages up to it."""

    def headline(self, figures: Mapping[str, Any]) -> None:
        """Log the figures by which pipelines are compared, nested mappings allowed."""

    def shown(self, path: Path) -> None:
        """Attach a file that one opens to judge a pipeline."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Attach rows as a table that is compared with the same table of other pipelines."""


class NullTracker:
    """Logs nothing."""

    def params(self, values: Mapping[str, object]) -> None:
        """Ignore."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Ignore."""

    def artifact(self, path: Path) -> None:
        """Ignore."""

    def inputs(self, own: Sequence[DataInput], upstream: Sequence[DataInput]) -> None:
        """Ignore."""

    def headline(self, figures: Mapping[str, Any]) -> None:
        """Ignore."""

    def shown(self, path: Path) -> None:
        """Ignore."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Ignore."""


def guarded(what: str, action: Callable[[], T]) -> T | None:
    """What `action` returns; None, and a warning, when it fails: recording must never stop a stage."""
    try:
        return action()
    except Exception as error:
        refused = refusal(error)
        told = str(error) if refused is None else refused.what
        said = told.partition("\n")[0][:SHOWN]  # a database's goes on with its whole statement
        LOG.warning("MLflow: %s was not recorded (%s: %s)", what, type(error).__name__, said)
        return None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
