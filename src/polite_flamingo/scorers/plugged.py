"""Score columns of other packages: computed in the process of the stage ``score``, once for every record."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.plugins import load_all
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import finite

Kind = Literal["integer", "number", "numbers", "text"]  # text: ours alone
KINDS = ("integer", "number", "numbers")


class ColumnScorer(Protocol):
    """A scorer of another package; made once without arguments, its name is that of its entry point and its column.

    Attributes:
        kind: Of its values.
    """

    kind: Kind

    def score(self, rewrite: Rewrite, image_root: Path) -> Any:
        """The value of a record, None where it does not apply.

        Args:
            rewrite: A record, with instruction, raw answer, rewritten text and images.
            image_root: Folder that image paths are relative to.
        """


@functools.cache
def scorers() -> Mapping[str, ColumnScorer]:
    """The scorers of other packages, by their column.

    Raises:
        ConfigError: one cannot be used.
    """
    made: dict[str, ColumnScorer] = {name: kind() for name, kind in load_all("scorers").items()}
    for name, scorer in made.items():
        if getattr(scorer, "kind", None) not in KINDS:
            raise ConfigError("scorer has no kind", value=name, where="plug-in", next_step=f"one of {', '.join(KINDS)}")
    return made


def plugged_kinds() -> dict[str, Kind]:
    """Column -> kind."""
    return {name: scorer.kind for name, scorer in scorers().items()}


def plugged_scores(rewrite: Rewrite, image_root: Path) -> dict[str, Any]:
    """The values of a record.

    Raises:
        DataError: a scorer fails, or gives something other than a finite number.
    """
    values: dict[str, Any] = {}
    for name, scorer in scorers().items():
        try:
            value = scorer.score(rewrite, image_root)
            usable = value is None or finite(value)
        except Exception as error:  # code of others: whatever it raises
            raise DataError(f"{name}: {type(error).__name__}: {error}", where=rewrite.id) from error
        if not usable:
            raise DataError(f"{name}: the score is not a finite number", value=value, where=rewrite.id)
        values[name] = value
    return values
