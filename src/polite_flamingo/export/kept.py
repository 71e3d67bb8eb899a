"""What is exported: the records the filters have kept, as samples whose answer is the rewritten response."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.filter.decisions import read_decided
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.sources.licences import allows_commercial_use
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
    def commercial_use(self) -> bool | None:
        """Whether the annotation's licence allows commercial use; None: nobody says.

        By the sample itself, else the catalogue, else, of one's own data, the licence's text.
        """
        own = self.rewrite.extras.get("permissive")
        if isinstance(own, bool):
            return own
        entry = catalogue().get(self.rewrite.source)
        if entry is not None and entry.group != "own":
            return None if entry.permissive == "unknown" else entry.permissive
        return allows_commercial_use(self.rewrite.licence)


def read_kept(folder: Path) -> Iterator[KeptRecord]:
    """Yield the kept records of the folder the stage ``filter`` has written, in order, with their scores."""
    for rewrite, decision in read_decided(folder, "kept", ("cut",)):
        yield KeptRecord(rewrite, decision["cut"])
