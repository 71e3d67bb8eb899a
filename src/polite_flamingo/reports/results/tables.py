"""The paper's Tables 1 to 3: its rows, then ours on the same sets; and all our sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.reports.results.cells import (
    LOWER_BOUND,
    NO_SET,
    measured,
    name_of,
    number,
    ours,
    row_of,
    table,
    tuned,
)
from polite_flamingo.reports.results.runs import ProfileRun

SCORES = {  # kind of a set -> its figures: name, heading, factor, decimals
    "caption": (
        ("rouge_l", "Rouge-L × 100", 100.0, 1),
        ("sts", "STS × 100", 100.0, 1),
        ("cider", "CIDEr × 100", 100.0, 1),
        ("chair_s", "CHAIR, sentences, %", 100.0, 1),
        ("chair_i", "CHAIR, objects, %", 100.0, 1),
    ),
    "question": (("nli", "NLI accuracy, %", 100.0, 1), ("exact", "true answer, %", 100.0, 1)),
    "change": (("sts", "STS × 100", 100.0, 1), ("rouge_l", "Rouge-L", 1.0, 3)),
    "pair": (("sts", "STS × 100", 100.0, 1), ("rouge_l", "Rouge-L", 1.0, 3)),
}
TABLE_3: dict[str, tuple[str, float, tuple[str, ...]]] = {  # figure -> heading, factor, the paper's set and ours
    "reward": ("A-OKVQA: mean reward", 1.0, ("aokvqa",)),
    "unchanged": ("A-OKVQA: unchanged, %", 100.0, ("aokvqa",)),
    "clip_logit": ("CC-3M: CLIPScore", 1.0, ("cc3m", "coco")),
}


def table_1(paper: Mapping[str, Any], runs: Sequence[ProfileRun]) -> str:
    """Captions and questions about single images."""
    sets, scores = paper["sets"], paper["scores"]
    rows = [[name, *(number(value, 1) for value in values)] for name, values in paper["models"].items()]
    rows += [
        [row_of(run, m), *(measured(run.on_set(name, m, scores[name]), 1, 100.0, NO_SET) for name in sets)]
        for run in runs
        for m in tuned(run)
    ]
    return table(["", *sets.values()], rows)


def table_2(paper: Mapping[str, Any], runs: Sequence[ProfileRun]) -> str:
    """Several images."""
    sets = paper["sets"]
    rows = [
        [name, *(text for sts, rouge in values for text in (number(sts, 1), number(rouge, 3)))]
        for name, values in paper["models"].items()
    ]
    for run in runs:
        for model in (LOWER_BOUND, *tuned(run)):
            row = [row_of(run, model)]
            for name in sets:
                row.append(measured(run.on_set(name, model, "sts"), 1, 100.0, NO_SET))
                row.append(measured(run.on_set(name, model, "rouge_l"), 3, 1.0, NO_SET))
            rows.append(row)
    heads = [f"{label}, {score}" for label in sets.values() for score in ("STS × 100", "Rouge-L")]
    return table(["", *heads], rows)


def table_3(paper: Mapping[str, Mapping[str, float]], runs: Sequence[ProfileRun]) -> str:
    """Two generations of the rewriter."""
    rows = [
        [f"{name} generation", *(number(values[figure], 2) for figure in TABLE_3)] for name, values in paper.items()
    ]
    for run in runs:
        rows.extend([ours(run, f"{name} generation"), *_generation(run, name)] for name in paper)
    return table(["", *(heading for heading, *_ in TABLE_3.values())], rows)


def _generation(run: ProfileRun, name: str) -> list[str]:
    """Table 3's cells of a generation: of the two compared, else of all that the first one rewrote."""
    compared = run.reports.get("second_generation", {}).get("annotations", {}).get("sources", {})
    sources = {source: generations.get(name, {}) for source, generations in compared.items()}
    if not compared and name == "first":
        sources = run.reports.get("score", {}).get("sources", {})
    cells = []
    for figure, (_, scale, names) in TABLE_3.items():
        known = ((source, sources.get(source, {}).get(figure)) for source in names)
        source, value = next(((source, value) for source, value in known if value is not None), ("", None))
        other = "" if source == names[0] else f" ({source})"
        cells.append("not measured" if value is None else f"{number(scale * value, 2)}{other}")
    return cells


def sets_table(run: ProfileRun) -> str:
    """Every evaluation set of a profile, with every tuned model."""
    models = tuned(run)
    rows = []
    for name, row in sorted(run.evaluation.get("sets", {}).items(), key=lambda item: (item[1]["kind"], item[0])):
        for score, heading, scale, digits in SCORES[row["kind"]]:
            figures = [row["models"].get(model, {}).get(score) for model in models]
            if any(figures):
                domain = "in domain" if row["in_domain"] else "out of domain"
                cells = [measured(figure, digits, scale) for figure in figures]
                rows.append([name, row["kind"], domain, str(row["n"]), heading, *cells])
    return table([f"set of `{run.profile}`", "asks for", "", "n", "", *map(name_of, models)], rows)
