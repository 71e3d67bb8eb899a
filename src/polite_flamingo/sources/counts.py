"""Does a reader find as many rows as the official release has?"""

from __future__ import annotations

import logging

from polite_flamingo.sources.registry import catalogue

LOG = logging.getLogger(__name__)


def expected_rows(name: str, split: str) -> int | None:
    """Rows (samples and rejects) of an official split; None where the catalogue does not know, or not the dataset."""
    entry = catalogue().get(name)
    return None if entry is None else entry.splits.get(split)


def warn_of_count(name: str, split: str, rows: int) -> bool:
    """Log a warning when `found` rows are not what the catalogue expects of a split; return whether it did."""
    expected = expected_rows(name, split)
    if expected is None or rows == expected:
        return False
    LOG.warning(
        "%s, split %s: %d rows, the official release has %d. An excerpt, a cut file or another release?",
        name,
        split,
        rows,
        expected,
    )
    return True
