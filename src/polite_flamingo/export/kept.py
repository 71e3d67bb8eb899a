"""What is exported: the records the filters have kept, as samples whose answer is the rewritten response."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.filter.decisions import read_decided
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.sources.registry import catalogue

Cut = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class KeptRecord:
    """One kept record.

    Args:
        rewrite: The record; its text is that after the paragraph filter.
        cut: (clip_logit, text) of the paragraphs the filter has cut.
    """

    rewrite: Rewrite
    cut: Cut = ()

    @functools.cached_property
    def sample(self) -> Sample:
        """Instruction and rewritten response.

        Besides what the sample had, ``extras`` hold ``raw_answer``, ``scores``, ``finish_reason`` and ``cut``.
        """
        rewrite = self.rewrite
        extras: dict[str, Any] = {
            **rewrite.extras,
            "raw_answer": rewrite.raw_answer,
            "scores": dict(rewrite.scores),
            "finish_reason": rewrite.finish_reason,
        }
        if self.cut:
            extras["cut"] = [list(pair) for pair in self.cut]
        return rewrite.as_sample(rewrite.rewritten, extras)

    @property
    def permissive(self) -> bool:
        """Whether the annotation's licence is known to allow commercial use, by the sample itself or the catalogue."""
        own = self.rewrite.extras.get("permissive")
        if own is not None:
            return own is True
        entry = catalogue().get(self.rewrite.source)
        return entry is not None and entry.permissive is True


def read_kept(folder: Path) -> Iterator[KeptRecord]:
    """Yield the kept records of the folder the stage ``filter`` has written, in order, with their scores."""
    for rewrite, decision in read_decided(folder, "kept", ("cut",)):
        yield KeptRecord(rewrite, decision["cut"])
