"""The error a process ended with, for whoever started it: DVC passes on neither a stage's message nor its status.

Whoever starts a process names a file in its environment; the command line writes the error there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from polite_flamingo.environment import FAILURE_VARIABLE
from polite_flamingo.errors import PoliteFlamingoError, hide
from polite_flamingo.io.text import read_json, write_json

PASSING = frozenset({"CutOffError", "EndpointDownError"})  # the same work may succeed later


@dataclass(frozen=True, slots=True)
class StageFailure:
    """An error of another process.

    Args:
        kinds: Names of its class and of that one's bases, the nearest first.
        message: What it says.
    """

    kinds: tuple[str, ...]
    message: str

    @property
    def passing(self) -> bool:
        """Whether trying again later may help."""
        return not PASSING.isdisjoint(self.kinds)

    @property
    def of_a_gate(self) -> bool:
        """Whether a quality gate failed; the message names the rows."""
        return "QualityError" in self.kinds


def leave_failure(error: Exception) -> None:
    """Write an error into the file that the environment names, if it names one."""
    path = os.environ.get(FAILURE_VARIABLE)
    if path:
        kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, Exception)]
        message = str(error) if isinstance(error, PoliteFlamingoError) else hide(f"{kinds[0]}: {error}")
        with suppress(OSError):  # on a full disk the message on the terminal has to do
            write_json(Path(path), {"kinds": kinds, "message": message})


def find_failure(path: Path) -> StageFailure | None:
    """The error that a process left in a file; None where it left none, as one that was killed does."""
    if not path.is_file():
        return None
    left = read_json(path)
    return StageFailure(tuple(left["kinds"]), left["message"])
