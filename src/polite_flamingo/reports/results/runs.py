"""What stands beside the paper's figures: the reports of the profiles that were run, and their ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.reports.over_seeds import read_ablations
from polite_flamingo.reports.summary import read_reports

PAPER = Path(__file__).parents[2] / "assets" / "paper_results.yaml"


@dataclass(frozen=True, slots=True)
class ProfileRun:
    """What a profile has measured.

    Args:
        profile: Its name.
        reports: Reports of its stages by name.
        ablations: Summary of its ablations; None where there is none to stand beside the reports.
        no_ablations: Why there is none.
    """

    profile: str
    reports: Mapping[str, Mapping[str, Any]]
    ablations: Mapping[str, Any] | None
    no_ablations: str

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The report of the stage `evaluate`; empty where it has not run."""
        return self.reports.get("evaluate", {})

    def on_set(self, name: str, model: str, score: str) -> Mapping[str, Any] | None:
        """A model's figure on an evaluation set; None where the profile has no such set."""
        row = self.evaluation.get("sets", {}).get(name)
        return row["models"].get(model, {}).get(score) if row else None


def read_paper() -> dict[str, Any]:
    """The paper's figures by table and figure."""
    paper: dict[str, Any] = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    return paper


def read_run(profile: str) -> ProfileRun:
    """What a profile has measured: nothing, if it was not run."""
    reports = read_reports(Path("reports") / profile)
    judges = reports["evaluate"].get("judges") if "evaluate" in reports else None
    return ProfileRun(profile, reports, *read_ablations(profile, judges))
