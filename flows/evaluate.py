"""Measure every model and draw the figures (section 5): `python flows/evaluate.py`."""

from __future__ import annotations

from _dvc import flow, run_stages
from polite_flamingo.pipeline import EVALUATE


@flow(name="evaluate", persist_result=False)
def evaluate(profile: str | None = None, data_root: str | None = None) -> None:
    """Measure every model and draw the figures (section 5).

    Args:
        profile: Profile to run; by default the one params.yaml names.
        data_root: Folder of the real datasets, instead of the profile's.
    """
    run_stages(EVALUATE, profile, data_root)


if __name__ == "__main__":
    evaluate()
