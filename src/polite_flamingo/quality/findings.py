"""What a gate found, for those who start it: a gate that fails writes no output of DVC, but this file it does write.

It lies at ``.work/gates/<profile>/<stage>.json`` of the project and belongs to the last time the gate ran; read it
after the stage has ended. It is absent where the gate broke before it came to a verdict. In the folder beside it are
the pages of the Data Docs that show this run, each in one file that needs no other.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import read_json, write_json

FOLDER = Path(".work") / "gates"
ELSEWHERE = re.compile(r' href="(?!#|data:)[^"]*"')  # links that lead nowhere once a page stands alone


def findings_file(profile: str, stage: str) -> Path:
    """Where the gate of a stage leaves what it found, below the project."""
    return FOLDER / profile / f"{stage}.json"


def forget(profile: str, stage: str) -> None:
    """Remove what an earlier run found."""
    path = findings_file(profile, stage)
    path.unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def write_findings(
    profile: str, stage: str, report: Mapping[str, Any], *, run: str, index: Path, pages: Mapping[str, Path]
) -> list[Path]:
    """Keep what a gate found: verdict, checks that do not hold with file and row of what they name, where to look.

    Args:
        profile: Name of the profile.
        stage: Name of the stage, e.g. ``check_raw``.
        report: What it found.
        run: Name of the run, as the Data Docs show it.
        index: Index of the Data Docs.
        pages: Their pages about this run, by suite.

    Returns:
        The files written: the findings first, then the pages that need no other file.
    """
    path = findings_file(profile, stage)
    alone = {name: path.with_suffix("") / f"{name}.html" for name in pages}
    broken = [finding for finding in report["findings"] if not finding["passed"]]
    for name, page in alone.items():
        write_atomic(page, ELSEWHERE.sub("", pages[name].read_text(encoding="utf-8")))
    write_json(
        path,
        {
            "gate": report["name"],
            "stage": stage,
            "profile": profile,
            "run": run,
            "passed": report["passed"],
            "records": report["records"],
            "checks": len(report["findings"]),
            "failed": [finding for finding in broken if finding["severity"] == "critical"],
            "warned": [finding for finding in broken if finding["severity"] != "critical"],
            "spreads": report["spreads"],
            "docs": index.as_posix(),
            "pages": {name: page.as_posix() for name, page in alone.items()},
        },
    )
    return [path, *alone.values()]


def read_findings(project: Path, profile: str, stage: str) -> dict[str, Any] | None:
    """What the gate of a stage found when it last ran in a project; None where it has not come to a verdict."""
    path = project / findings_file(profile, stage)
    return read_json(path) if path.is_file() else None
