"""Where unusable rows go: one JSON line each, in the order they were found."""

from __future__ import annotations

import json
from typing import TextIO

from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject


class Quarantine:
    """Writes rejects as JSON Lines and counts their reasons for messages."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.reasons = Reasons()

    def add(self, reject: Reject) -> None:
        """Write one reject."""
        self._file.write(json.dumps(reject.to_row(), ensure_ascii=False, sort_keys=True) + "\n")
        self.reasons.add(reject)
