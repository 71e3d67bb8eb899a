"""Score columns for tests, as the stage `score` writes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import BY_CUT, COLUMNS
from polite_flamingo.scorers.text import cut_texts, text_scores


def with_columns(rewrite: Rewrite, **given: Any) -> Rewrite:
    """The record with every column: those given, those that need no model, None for the rest."""
    chosen = {**rewrite.scores, **given}
    texts = cut_texts(rewrite, chosen.get("clip_logits"))
    found = {**text_scores(rewrite, texts), **chosen}
    for name in BY_CUT if texts is not None else ():
        if found.get(name) is not None:
            found.setdefault(f"{name}_by_cut", [found[name]] * len(texts))
    return replace(rewrite, scores={name: found.get(name) for name in COLUMNS})
