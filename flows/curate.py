"""Annotations to PF-1M: distort, train the rewriter, rewrite, score, filter (section 3): `python flows/curate.py`."""

from __future__ import annotations

from _dvc import flow, run_stages
from polite_flamingo.pipeline import CURATE


@flow(name="curate", persist_result=False)
def curate(profile: str | None = None, data_root: str | None = None) -> None:
    """Annotations to PF-1M: distort, train the rewriter, rewrite, score, filter (section 3).

    Args:
        profile: Profile to run; by default the one params.yaml names.
        data_root: Folder of the real datasets, instead of the profile's.
    """
    run_stages(CURATE, profile, data_root)


if __name__ == "__main__":
    curate()
