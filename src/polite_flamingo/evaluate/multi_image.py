"""Tasks over several images (section 5): describing the change between two images.

A change annotation's sentences are parts of one description, not alternatives (Spot-the-Diff: one sentence per change),
so the reference is all of them together; an answer that names one change of three does not count as complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polite_flamingo.evaluate.captioning import references


def change_reference(raw_answer: str, extras: Mapping[str, Any]) -> list[str]:
    """The one reference of a change description: its annotated sentences joined (an empty list without any)."""
    sentences = references(raw_answer, extras)
    return [" ".join(sentences)] if sentences else []
