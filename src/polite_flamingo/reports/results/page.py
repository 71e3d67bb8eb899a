"""All parts of the page of results, by the names of their marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.marked import fill
from polite_flamingo.reports.over_seeds import RECIPE
from polite_flamingo.reports.results import figures, tables
from polite_flamingo.reports.results.cells import table
from polite_flamingo.reports.results.runs import ProfileRun, read_paper, read_run


def results(profiles: Sequence[str], page: Path | None = None) -> str:
    """The paper's results with ours beside them, as Markdown.

    Args:
        profiles: Whose reports to take; the U is the first one's.
        page: File that gets the parts too, each between its marks.

    Raises:
        DataError: the page lacks a mark.
    """
    parts = render([read_run(profile) for profile in profiles])
    if page is not None:
        fill(page, parts)
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in parts.items())


def render(runs: Sequence[ProfileRun]) -> dict[str, str]:
    """Every part of the page: name of its marks -> Markdown."""
    paper = read_paper()
    evaluated = [run for run in runs if run.evaluation]
    return {
        "basis": _basis(runs),
        "table 1": tables.table_1(paper["table_1"], evaluated),
        "table 2": tables.table_2(paper["table_2"], evaluated),
        "table 3": tables.table_3(paper["table_3"], runs),
        "figure 6": figures.figure_6(paper["figure_6"], evaluated),
        "figure 8": figures.figure_8(paper["figure_8"], evaluated),
        "figure 9": figures.figure_9(paper["figure_9"], runs[0]),
        "figure 11": figures.figure_11(paper["figure_11"], evaluated),
        "our sets": "\n\n".join(tables.sets_table(run) for run in evaluated) or "Nothing was evaluated.",
    }


def _basis(runs: Sequence[ProfileRun]) -> str:
    """What lies behind each profile's figures."""
    rows = []
    for run in runs:
        judges = [name for name in run.evaluation.get("judges", {}) if name != "exact"]
        samples = str(run.evaluation["samples"]["all"]) if run.evaluation else "none: its models were not evaluated"
        seeds = str(len(run.ablations["variants"][RECIPE]["seeds"])) if run.ablations else run.no_ablations
        generations = "compared" if "second_generation" in run.reports else "not compared"
        rows.append([f"`{run.profile}`", samples, ", ".join(judges) or "none", seeds, generations])
    return table(["profile", "samples answered", "judges", "seeds of the recipe", "two generations"], rows)
