"""Why records were lost, for a person to read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from polite_flamingo.records import Reject

SHOWN_VALUE = 60  # characters of a value in a message
_PARTICULAR = re.compile(r"(?<!\S)(?<!HTTP )\S*[\d/]\S*")  # of one record: numbers, paths; not an HTTP status


class Reasons:
    """Why records were lost, each reason once with its count; those that differ in a number or a path are one.

    Args:
        rejects: The first to count.
    """

    def __init__(self, rejects: Iterable[Reject] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        for reject in rejects:
            self.add(reject)

    def add(self, reject: Reject) -> None:
        """Count a reject."""
        kind = _PARTICULAR.sub("#", reject.reason)
        self._counts[kind] += 1
        if kind not in self._first:
            value = f", {reject.value[:SHOWN_VALUE]}" if reject.value else ""
            place = f"{reject.file}, row {reject.row}" if reject.file else reject.row
            self._first[kind] = f"{reject.reason.removeprefix('error: ')} ({place}{value})"

    def lines(self, most: int = 5) -> list[str]:
        """``9 x HTTP 500: overloaded (where the first of them is)``, the most frequent first, and how many more."""
        shown = [f"{count} x {self._first[kind]}" for kind, count in self._counts.most_common(most)]
        others = len(self._counts) - most
        return [*shown, f"{others} other reasons"] if others > 0 else shown
