"""Reading score columns: None is "does not apply or has no model", a missing column is an error."""

from __future__ import annotations

from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Rewrite


def number(rewrite: Rewrite, column: str) -> float | None:
    """A single score."""
    value = _read(rewrite, column)
    return None if value is None else float(value)


def numbers(rewrite: Rewrite, column: str) -> list[float] | None:
    """A list of scores."""
    value = _read(rewrite, column)
    return None if value is None else [float(v) for v in value]


def _read(rewrite: Rewrite, column: str) -> Any:
    try:
        return rewrite.scores[column]
    except KeyError:
        raise DataError(
            "record has not been scored", value=column, where=rewrite.id, next_step="run `polite-flamingo score`"
        ) from None
