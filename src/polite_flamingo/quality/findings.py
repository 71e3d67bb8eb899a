"""What a gate found, for those who start it: a gate that fails writes no output of DVC, but this file it does write.

It lies at ``.work/gates/<profile>/<stage>.json`` of the project and belongs to the last time the gate ran. Read it
after the stage has ended; it is absent where the gate broke before it came to a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.io import read_json, write_json

FOLDER = Path(".work") / "gates"


def findings_file(profile: str, stage: str) -> Path:
    """Where the gate of a stage leaves what it found, below the project."""
    return FOLDER / profile / f"{stage}.json"


def findings_page(profile: str, stage: str) -> Path:
    """The same for people: one HTML file that needs no other."""
    return findings_file(profile, stage).with_suffix(".html")


def forget(profile: str, stage: str) -> None:
    """Remove what an earlier run found."""
    findings_file(profile, stage).unlink(missing_ok=True)
    findings_page(profile, stage).unlink(missing_ok=True)


def write_findings(profile: str, stage: str, report: Mapping[str, Any], docs: Path) -> Path:
    """Keep a gate's report, and where to look.

    Args:
        profile: Name of the profile.
        stage: Name of the stage, e.g. ``check_raw``.
        report: ``GateResult.to_json()``.
        docs: Page of the Data Docs that shows it.
    """
    path = findings_file(profile, stage)
    failed = [finding for finding in report["findings"] if not finding["passed"]]
    checks = len(report["findings"])
    more = {"stage": stage, "profile": profile, "checks": checks, "failed": failed, "docs": docs.as_posix()}
    write_json(path, {**more, "gate": report["name"], "records": report["records"], "passed": report["passed"]})
    return path


def read_findings(project: Path, profile: str, stage: str) -> dict[str, Any] | None:
    """What the gate of a stage found when it last ran in a project; None where it has not come to a verdict."""
    path = project / findings_file(profile, stage)
    return read_json(path) if path.is_file() else None
