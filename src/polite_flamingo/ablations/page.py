"""The page of the ablations: tables between two marks of a Markdown file, the figures in a folder beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.ablations.results import METRICS, TUNED
from polite_flamingo.ablations.steps import STEPS, step_name
from polite_flamingo.ablations.variants import BASE
from polite_flamingo.evaluate.drawing import true_minus
from polite_flamingo.marked import fill

MARK = "of the generated tables"
U_METRICS = ("qa_in_domain", "qa_in_domain_exact", "qa_out_of_domain", "qa_out_of_domain_exact", "reward")


def tables(summary: Mapping[str, Any]) -> str:
    """The tables in Markdown: the U by seed and from stage to stage, then every variant and its difference from it."""
    variants = summary["variants"]
    parts = ["Accuracies (in domain, out of domain) in percent; STS and reward have no unit."]
    if BASE in variants:
        count = len(variants[BASE]["seeds"])
        parts += [
            _u_table(variants[BASE]),
            f"From stage to stage, paired by sample and seed ({count} {'seed' if count == 1 else 'seeds'}). The first "
            "interval is a bootstrap over samples: sure for these seeds. The second one covers other seeds too: "
            "Student's t, of the variance between seeds plus that between samples; **bold** where it leaves out zero.",
            _step_table(variants[BASE]),
        ]
    last = "stage3"
    parts += [f"After {_words(last)}: mean over seeds and its 95 % interval.", _values(variants, last)]
    for stage in ("stage2", last):
        parts += [
            f"Difference from the recipe after {_words(stage)}, same samples and seeds, with its 95 % interval; "
            "**bold** where the interval leaves out zero and at least two seeds have the same sign, all of them.",
            _differences(variants, stage),
        ]
    parts += ["What each variant sets:", _settings(variants)]
    return "\n\n".join(parts)


def update(page: Path, text: str, figures: Sequence[Path]) -> None:
    """Put `text` between the marks of `page` and copy `figures` into ``figures/`` beside it.

    Raises:
        DataError: the page or its marks are missing.
    """
    fill(page, {MARK: text})
    folder = page.parent / "figures"
    folder.mkdir(exist_ok=True)
    for figure in figures:
        shutil.copyfile(figure, folder / figure.name)


def _u_table(recipe: Mapping[str, Any]) -> str:
    seeds = recipe["seeds"]
    heads = ["the U", "", *(f"seed {seed}" for seed in seeds), "mean", "sd over seeds", "95 % interval over samples"]
    rows = []
    for metric in U_METRICS:
        for stage in (stage for stage in TUNED if stage in recipe["stages"]):
            figure = recipe["stages"][stage][metric]
            if figure["value"] is None:
                continue
            runs = (figure["by_seed"].get(str(seed)) for seed in seeds)
            values = [_show(metric, value) for value in (*runs, figure["value"], figure["sd"])]
            rows.append([METRICS[metric], _words(stage), *values, _interval(metric, figure)])
    return _table(heads, rows)


def _step_table(recipe: Mapping[str, Any]) -> str:
    heads = ["change", "", "mean", "95 % over samples", "95 % over seeds and samples", "seeds that fall", "rise"]
    rows = []
    for metric in U_METRICS:
        for before, after in STEPS:
            figure = recipe["steps"].get(step_name(before, after), {}).get(metric)
            if figure is None or figure["value"] is None:
                continue
            seeds = figure["over_seeds"]
            mean = _show(metric, figure["value"], "+")
            clear = seeds["low"] is not None and (seeds["low"] > 0 or seeds["high"] < 0)
            rows.append(
                [
                    METRICS[metric],
                    f"{_words(before)} to {after.removeprefix('stage')}",
                    f"**{mean}**" if clear else mean,
                    _interval(metric, figure, "+"),
                    "one seed" if seeds["low"] is None else _interval(metric, seeds, "+"),
                    str(seeds["falls"]),
                    str(seeds["rises"]),
                ]
            )
    return _table(heads, rows)


def _values(variants: Mapping[str, Any], stage: str) -> str:
    rows = [
        [v["label"], str(len(v["seeds"])), *(_with_interval(m, v["stages"][stage][m]) for m in METRICS)]
        for v in variants.values()
        if stage in v["stages"]
    ]
    return _table(["variant", "seeds", *METRICS.values()], rows)


def _differences(variants: Mapping[str, Any], stage: str) -> str:
    rows = []
    for variant in variants.values():
        figures = variant["stages"].get(stage, {})
        if any("difference" in figure for figure in figures.values()):
            paired = {seed for figure in figures.values() for seed in figure.get("difference", {}).get("by_seed", {})}
            cells = (_difference(metric, figures[metric]) for metric in METRICS)
            rows.append([variant["label"], str(len(paired)), *cells])
    return _table(["variant", "seeds", *METRICS.values()], rows)


def _settings(variants: Mapping[str, Any]) -> str:
    rows = []
    for name, variant in variants.items():
        changes = ", ".join(f"`{key}: {_plain(value)}`" for key, value in variant["changes"].items()) or "nothing"
        rows.append([variant["label"], f"`{name}`", changes, ", ".join(map(str, variant["seeds"]))])
    return _table(["variant", "name", "sets", "seeds"], rows)


def _difference(metric: str, figure: Mapping[str, Any]) -> str:
    difference = figure.get("difference")
    if not difference or difference["value"] is None:
        return ""
    runs = [value for value in difference["by_seed"].values() if value is not None]
    same = all(value > 0 for value in runs) or all(value < 0 for value in runs)
    clear = same and len(runs) > 1 and (difference["low"] > 0 or difference["high"] < 0)
    value, low, high = (_show(metric, difference[part], "+") for part in ("value", "low", "high"))
    text = f"{value} ({low} to {high})"
    return f"**{text}**" if clear else text


def _with_interval(metric: str, figure: Mapping[str, Any]) -> str:
    return "" if figure["value"] is None else f"{_show(metric, figure['value'])} ({_interval(metric, figure)})"


def _interval(metric: str, figure: Mapping[str, Any], sign: str = "") -> str:
    return f"{_show(metric, figure['low'], sign)} to {_show(metric, figure['high'], sign)}"


def _show(metric: str, value: float | None, sign: str = "") -> str:
    """Accuracies in percent, the rest as it is; with `sign`, as a difference."""
    if value is None:
        return ""
    return true_minus(100 * value, f"{sign}.1f") if metric.startswith("qa_") else true_minus(value, f"{sign}.3f")


def _plain(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value).lower()


def _words(stage: str) -> str:
    return stage.replace("stage", "stage ")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
