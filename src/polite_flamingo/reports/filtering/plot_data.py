"""What the filters kept as small tables, from which DVC draws and compares runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.io.files import publishing
from polite_flamingo.io.text import write_csv
from polite_flamingo.world.roc import COLUMNS, ScoreCurves


def write_plot_data(folder: Path, report: Mapping[str, Any], curves: ScoreCurves) -> None:
    """Write ``filters.csv``, ``sources.csv`` and ``roc.csv``.

    Args:
        folder: Becomes the tables, and nothing else.
        report: What the filters did (`filter.tally.Tally.report`).
        curves: Of the scores, by the ground truth; a table without rows where there is none.
    """
    with publishing(folder) as staging:
        filters = [(row["filter"], row["applied"], row["would_drop_alone"]) for row in report["filters"]]
        write_csv(
            staging / "filters.csv",
            ("filter", "judged", "kept_share"),
            ((name, judged, _share(judged - dropped, judged)) for name, judged, dropped in filters if judged),
        )
        sources = report["sources"].items()
        write_csv(
            staging / "sources.csv",
            ("source", "records", "kept_share"),
            ((name, row["records"], _share(row.get("kept", 0), row["records"])) for name, row in sources),
        )
        write_csv(staging / "roc.csv", COLUMNS, curves.rows())


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4)
