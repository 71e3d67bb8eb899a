"""The whole paper, stage by stage, and its second generation where it is on: `python flows/full.py`."""

from __future__ import annotations

from _dvc import flow, run_stages
from polite_flamingo.pipeline import FULL, SECOND_GENERATION


@flow(name="full", persist_result=False)
def full(profile: str | None = None, data_root: str | None = None) -> None:
    """The whole paper, stage by stage.

    Args:
        profile: Profile to run; by default the one params.yaml names.
        data_root: Folder of the real datasets, instead of the profile's.
    """
    run_stages((*FULL, *SECOND_GENERATION), profile, data_root)


if __name__ == "__main__":
    full()
