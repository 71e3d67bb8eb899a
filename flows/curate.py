"""Annotations to PF-1M (sections 3 and 4.2): `python flows/curate.py`."""

from __future__ import annotations

from _dvc import by_hand, stages_flow
from polite_flamingo.pipeline import CURATE

curate = stages_flow(
    "curate", CURATE, "Annotations to PF-1M: distort, train the rewriter, rewrite, score, filter (sections 3 and 4.2)."
)

if __name__ == "__main__":
    by_hand(curate)
