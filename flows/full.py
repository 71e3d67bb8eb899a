"""The whole paper, stage by stage, and its second generation where it is on: `python flows/full.py`."""

from __future__ import annotations

from _dvc import by_hand, stages_flow
from polite_flamingo.pipeline import FULL, SECOND_GENERATION

full = stages_flow("full", (*FULL, *SECOND_GENERATION), "The whole paper, stage by stage.")

if __name__ == "__main__":
    by_hand(full)
