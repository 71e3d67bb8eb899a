"""Measure every model and draw the figures (section 5): `python flows/evaluate.py`."""

from __future__ import annotations

from _dvc import by_hand, stages_flow
from polite_flamingo.pipeline import EVALUATE

evaluate = stages_flow("evaluate", EVALUATE, "Measure every model and draw the figures (section 5).")

if __name__ == "__main__":
    by_hand(evaluate)
