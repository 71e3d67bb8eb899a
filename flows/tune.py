"""The three stages of tuning, and the comparison on raw annotations (section 4.3): `python flows/tune.py`."""

from __future__ import annotations

from _dvc import flow, run_stages
from polite_flamingo.pipeline import TUNE


@flow(name="tune", persist_result=False)
def tune(profile: str | None = None, data_root: str | None = None) -> None:
    """The three stages of tuning, and the comparison on raw annotations (section 4.3).

    Args:
        profile: Profile to run; by default the one params.yaml names.
        data_root: Folder of the real datasets, instead of the profile's.
    """
    run_stages(TUNE, profile, data_root)


if __name__ == "__main__":
    tune()
