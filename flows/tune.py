"""The three stages of tuning, and the comparison on raw annotations (section 4.3): `python flows/tune.py`."""

from __future__ import annotations

from _dvc import by_hand, stages_flow
from polite_flamingo.pipeline import TUNE

tune = stages_flow("tune", TUNE, "The three stages of tuning, and the comparison on raw annotations (section 4.3).")

if __name__ == "__main__":
    by_hand(tune)
