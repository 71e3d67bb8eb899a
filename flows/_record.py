"""What a run leaves in Prefect to read: a stage's figures, a failed gate's rows, how far it is, where to look.

The keys name profile and stage alone, so that an artifact's history compares runs. Recording never fails a stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from polite_flamingo.io.text import read_json
from polite_flamingo.markdown import code, escaped
from polite_flamingo.quality.findings import read_findings
from polite_flamingo.reports.summary import summarise

ADDRESS = re.compile(r"https?://[^\s<>|]+")
PERCENT = re.compile(r"(\d+)%\|")  # in the line of a progress bar
MOST_FIGURES = 40  # of a stage's report where it has no headline figures
ENDS = ("_low", "_high")  # of an interval


def key_of(*parts: str) -> str:
    """An artifact's key: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


class Progress:
    """How far a stage is, from the lines of its progress bars.

    Args:
        profile: Name of the profile.
        stage: Name of the stage.
    """

    def __init__(self, profile: str, stage: str) -> None:
        self._key = key_of(profile, stage, "progress")
        self._stage = stage
        self._artifact: UUID | None = None

    def __call__(self, line: str) -> None:
        """Look at a line."""
        percent = PERCENT.search(line)
        if percent is not None:
            self._show(float(percent[1]), line.partition(":")[0].strip())

    def end(self) -> None:
        """All is done."""
        if self._artifact is not None:
            self._show(100.0, "done")

    def _show(self, percent: float, what: str) -> None:
        def show() -> None:
            words = f"{self._stage}: {what}"
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, key=self._key, description=words)
            else:
                update_progress_artifact(self._artifact, percent, description=words)

        recorded("progress", show)


def record_figures(profile: str, stage: str, reports: Path) -> None:
    """A table of a stage's headline figures; where it has none, of the first numbers of its report.

    Args:
        profile: Name of the profile.
        stage: Name of the stage.
        reports: Folder of the profile's reports.
    """

    def record() -> None:
        path = reports / f"{stage}.json"
        if not path.is_file():
            return
        report = read_json(path)
        headline = report if stage == "summary" else summarise({stage: report})
        rows = _rows(headline) if headline else _rows(report)[:MOST_FIGURES]
        if rows:
            create_table_artifact(
                rows, key=key_of(profile, stage), description=f"Figures of {stage}, profile {profile}"
            )

    recorded("figures", record)


def record_rows(profile: str, stage: str, project: Path) -> None:
    """A table of the rows that a failed gate names.

    Args:
        profile: Name of the profile.
        stage: Name of the gate.
        project: Where DVC ran it.
    """

    def record() -> None:
        found = read_findings(project, profile, stage)
        if found is None:
            return
        rows = [
            {"check": f"{check['column']}: {check['expectation']}", **row}
            for check in found["failed"]
            for row in check["rows"] or [{"note": check["because"]}]
        ]
        words = f"Gate {found['gate']}: {len(found['failed'])} of {found['checks']} checks failed"
        create_table_artifact(rows, key=key_of(profile, stage), description=words)

    recorded("rows of the gate", record)


def record_places(profile: str, places: Mapping[str, str]) -> None:
    """A page that says where to look.

    Args:
        profile: Name of the profile.
        places: What -> an address, or a path on the worker's machine.
    """
    lines = [
        f"| {escaped(what)} | {f'<{where}>' if ADDRESS.fullmatch(where) else code(where)} |"
        for what, where in places.items()
    ]
    page = "\n".join([f"# Where to look: {escaped(profile)}", "", "| what | where |", "| --- | --- |", *lines])
    recorded(
        "places", lambda: create_markdown_artifact(page, key=key_of(profile, "places"), description="Where to look")
    )


def recorded(what: str, action: Callable[[], object]) -> None:
    """Do it; a failure is a warning in the log."""
    try:
        action()
    except Exception as error:  # recording must never stop a stage
        get_run_logger().warning("Prefect: %s not recorded (%s: %s)", what, type(error).__name__, error)


def _rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per number of the upper two levels; the ends of an interval stand beside its value."""
    rows = []
    for group, figures in report.items():
        named = figures if isinstance(figures, Mapping) else {"": figures}
        for name, value in named.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name.endswith(ENDS) and name.rpartition("_")[0] in named:
                continue
            figure = f"{group}.{name}" if name else group
            rows.append(
                {"figure": figure, "value": value, "low": named.get(f"{name}_low"), "high": named.get(f"{name}_high")}
            )
    return rows
