"""The numbers of the paper's Figures 6, 8, 9 and 11, ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.reports.over_seeds import RECIPE
from polite_flamingo.reports.results.cells import (
    NO_SET,
    TUNED,
    measured,
    name_of,
    number,
    row_of,
    table,
    tuned,
    written,
)
from polite_flamingo.reports.results.runs import ProfileRun

COLUMNS = (("qa_in_domain", "in domain, %", 1), ("qa_out_of_domain", "out of domain, %", 1), ("reward", "reward", 2))
VARIANTS = {  # of the recipe, as Figure 9 calls them
    "base": "the recipe",
    "resolution": "two thirds of the side (224 px)",
    "vit": "ViT unfrozen",
    "lora_stage2": "LoRA unfrozen in stage 2",
    "epochs": "epochs × 2",
    "no_stage1": "no stage 1",
    "raw": "raw annotations",
}
GRIDS = {"value": "matrix", "low": "low", "high": "high"}
Figures = Mapping[str, Any]


def figure_6(paper: Mapping[str, Mapping[str, Any]], runs: Sequence[ProfileRun]) -> str:
    """Reward of instruction sets: the paper's middle marks, medians and means of ours."""
    own = [run.evaluation.get("responses", {}) for run in runs]
    readers = {name: paper["readers"].get(name, name) for name in paper["rewards"]}
    more = sorted({reader for responses in own for reader in responses} - set(readers.values()))
    rows = []
    for name, reader in [*readers.items(), *((reader, reader) for reader in more)]:
        row = [name, written(paper["rewards"][name]) if name in readers else "not shown"]
        for responses in own:
            of = responses.get(reader)
            row += [NO_SET, NO_SET] if of is None else [number(of["median"], 2), measured(of, 2)]
        rows.append(row)
    heads = [head for run in runs for head in (f"`{run.profile}`, median", f"`{run.profile}`, mean")]
    return table(["responses of", "paper, middle mark", *heads], rows)


def figure_8(paper: Mapping[str, float], runs: Sequence[ProfileRun]) -> str:
    """Win rates by reward: the paper's model over the others, each of our stages over those before it."""
    rows = [["Clever Flamingo", name, written(value)] for name, value in paper.items()]
    for run in runs:
        wins = run.evaluation.get("win_rate") or {"order": []}
        order = wins["order"]
        for winner in reversed(order):
            row = order.index(winner)
            for column, other in enumerate(order[:row]):
                ends = {end: wins[grid][row][column] for end, grid in GRIDS.items()}
                rows.append([row_of(run, winner), name_of(other), measured(ends, 1, 100.0)])
    return table(["answers of", "beat those of", "% of the samples"], rows)


def figure_9(paper: Mapping[str, Mapping[str, Sequence[float | None]]], run: ProfileRun) -> str:
    """The U, and one change of the recipe at a time; over seeds where the ablations trained several."""
    variants: Figures = (run.ablations or {}).get("variants", {})
    if RECIPE in variants:
        seeds = len(variants[RECIPE]["seeds"])
        stages = variants[RECIPE]["stages"]
    else:
        seeds, stages = 1, run.evaluation.get("models", {})
    parts = [_beside(run, [(TUNED[name], theirs, stages.get(name), seeds) for name, theirs in paper["stages"].items()])]
    if run.ablations is None:
        return "\n\n".join(
            [*parts, f"Stages of `{run.profile}` from one run; other seeds and variants {run.no_ablations}."]
        )
    rows = []
    for name, theirs in paper["variants"].items():
        variant = variants.get(name, {"stages": {}, "seeds": ()})
        rows.append((VARIANTS[name], theirs, variant["stages"].get("stage2"), len(variant["seeds"])))
    return "\n\n".join([*parts, "After stage 2, one thing changed at a time:", _beside(run, rows)])


def figure_11(paper: Mapping[str, float], runs: Sequence[ProfileRun]) -> str:
    """The judges beside people in the paper; beside the ground truth of a rendered world here."""
    asked = [
        ["do people agree with the reward model (pairs, ties left out)", f"{written(paper['reward_agrees'])} %"],
        ["do people agree with NLI accuracy (order of five models)", "yes"],
        ["do people agree with Rouge-L", "no"],
    ]
    people = table(["", "paper", "ours"], [[*row, "not measured: nobody was asked"] for row in asked])
    heads, rows = [""], []
    for domain in ("in", "out of"):
        heads += [f"true, {domain} domain, %", f"NLI, {domain} domain, %", f"Rouge-L, {domain} domain"]
    for run in runs:
        for model in tuned(run):
            row = [row_of(run, model)]
            for domain in ("qa_in_domain", "qa_out_of_domain"):
                figures = run.evaluation["models"][model]
                row += [measured(figures.get(name), 1, 100.0) for name in (f"{domain}_exact", domain)]
                row.append(measured(figures.get(f"{domain}_rouge_l"), 3))
            rows.append(row)
    return "\n\n".join([people, "The ground truth in the place of people:", table(heads, rows)])


def _beside(run: ProfileRun, rows: Sequence[tuple[str, Sequence[float | None], Figures | None, int]]) -> str:
    """Rows of a name, the paper's three values, our figures and the number of seeds behind these."""
    cells = []
    for name, theirs, own, seeds in rows:
        row = [name]
        for value, (metric, _, digits) in zip(theirs, COLUMNS, strict=True):
            row.append("not readable" if value is None else written(value))
            row.append(measured((own or {}).get(metric), digits, 100.0 if metric.startswith("qa_") else 1.0))
        cells.append([*row, str(seeds) if own else "none"])
    heads = [head for _, heading, _ in COLUMNS for head in (f"paper: {heading}", f"`{run.profile}`: {heading}")]
    return table(["", *heads, "our seeds"], cells)
