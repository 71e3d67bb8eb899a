"""Where unusable rows go: one JSON line each, in the order they were found."""

from __future__ import annotations

import json
from typing import TextIO

from polite_flamingo.records import Reasons, Reject

NAMED = 3  # rejects remembered for an error message


class Quarantine:
    """Writes rejects as JSON Lines; counts their reasons and remembers the first few for messages."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.reasons = Reasons()
        self.first: list[str] = []

    def add(self, reject: Reject) -> None:
        """Write one reject."""
        self._file.write(json.dumps(reject.to_row(), ensure_ascii=False, sort_keys=True) + "\n")
        self.reasons.add(reject.reason)
        if len(self.first) < NAMED:
            value = f" ({reject.value})" if reject.value else ""
            self.first.append(f"{reject.source}: {reject.file}, row {reject.row}: {reject.reason}{value}")
