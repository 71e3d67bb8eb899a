"""Readers, filters, scorers and backends of other packages, found by their entry points.

A package names them in its own pyproject.toml, in the groups ``polite_flamingo.readers``, ``polite_flamingo.filters``,
``polite_flamingo.scorers`` and ``polite_flamingo.backends`` (docs/how_to_plug_in.md). Nothing of a package is imported
before its kind of thing is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from polite_flamingo.errors import ConfigError

Kind = Literal["readers", "filters", "scorers", "backends"]


@functools.cache
def named(kind: Kind) -> Mapping[str, EntryPoint]:
    """The entry points of a kind, by name.

    Raises:
        ConfigError: two packages give the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"polite_flamingo.{kind}"), key=lambda point: (point.name, point.value)):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                "two plug-ins of one name",
                value=point.name,
                where=f"{_package(other)} and {_package(point)}",
                next_step="uninstall one of the packages",
            )
    return found


def load(kind: Kind, name: str) -> Any:
    """What an entry point names.

    Raises:
        ConfigError: it cannot be imported.
    """
    point = named(kind)[name]
    try:
        return point.load()
    except Exception as error:  # code of others: whatever it raises
        raise ConfigError(
            "plug-in cannot be loaded",
            value=f"{type(error).__name__}: {error}",
            where=f"{name} = {point.value} ({_package(point)})",
            next_step="mend or uninstall the package",
        ) from error


def load_all(kind: Kind) -> dict[str, Any]:
    """Everything of a kind, by name.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    return {name: load(kind, name) for name in named(kind)}


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
