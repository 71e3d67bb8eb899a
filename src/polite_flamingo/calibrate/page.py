"""The tables of docs/calibration.md, written between markers; what stands around them is written by people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.marked import fill


def render(report: Mapping[str, Any]) -> str:
    """The tables of one calibration as Markdown."""
    parts = [
        _records(report),
        _models(report),
        _filters(report),
        _areas(report),
        _chain(report),
        _kinds(report),
        _suggested(report),
    ]
    return "\n\n".join(part for part in parts if part)


def write_tables(page: Path, name: str, tables: str, plots: Sequence[Path] = ()) -> None:
    """Put `tables` and pictures between the marks `name` of a page.

    Raises:
        DataError: the page lacks them.
    """
    pictures = [f"![{plot.stem.replace('_', ' ')}]({_relative(plot, page)})" for plot in plots]
    fill(page, {name: "\n\n".join([tables, *pictures])})


def _relative(plot: Path, page: Path) -> str:
    return Path(os.path.relpath(plot, page.parent)).as_posix()


def summary(report: Mapping[str, Any]) -> str:
    """The chain on one screen."""
    records = report["records"]
    lines = [
        f"{records['total']} labelled records, {records['corrupted']} corrupted; figures for {report['prevalence']:.1%}"
        " corrupted before filtering",
    ]
    for name, rates in report["chain"].items():
        lines.append(
            f"{name:>10}: caught {_share(rates['recall'])}, clean kept {_share(rates['clean_kept'])},"
            f" corrupted after {_share(rates['corrupted_after'])}"
        )
    chosen = report["suggested"]
    lines.append("suggested (chosen on one half, measured on the other):")
    lines += [f"{name:>35}: {value}" for name, value in chosen["overrides"].items()] or ["    nothing to change"]
    rates = chosen["held_out"]["suggested"]
    lines.append(
        f"            caught {_share(rates['recall'])}, clean kept {_share(rates['clean_kept'])},"
        f" corrupted after {_share(rates['corrupted_after'])}; target {_verdict(chosen['held_out_met'])}"
    )
    return "\n".join(lines)


def _records(report: Mapping[str, Any]) -> str:
    records = report["records"]
    kinds = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in records["kinds"].items())
    sources = ", ".join(f"{name} {count}" for name, count in records["sources"].items())
    return (
        f"{records['total']:,} records ({kinds}), from {records['groups']:,} originals. Sources: {sources}. "
        f'Precision and "corrupted after" are for {report["prevalence"]:.1%} corrupted before filtering.'
    )


def _models(report: Mapping[str, Any]) -> str:
    models = [f"{name} `{model['origin']}`" for name, model in report.get("models", {}).items()]
    accuracy = report.get("models", {}).get("nli", {}).get("accuracy")
    if accuracy is None:
        return f"Scored with {', '.join(models)}." if models else ""
    model = report["models"]["nli"]
    return (
        f"Scored with {', '.join(models)}. NLI was trained on {model['train_pairs']:,.0f} pairs; on "
        f"{model['held_out_pairs']:,.0f} held-out pairs its accuracy is {accuracy:.1%} (most frequent label "
        f"{model['majority']:.1%})."
    )


def _filters(report: Mapping[str, Any]) -> str:
    sets = report["filters"]
    rows, idle = [], []
    for same_filter in zip(*sets.values(), strict=True):  # one filter under every set of thresholds
        name = same_filter[0]["filter"].replace("_", " ")
        if not any(_takes(row) for row in same_filter):
            idle.append(name)
            continue
        alike: dict[tuple[str, ...], list[str]] = {}
        for thresholds, row in zip(sets, same_filter, strict=True):
            shares = (_share(row[figure]) for figure in ("recall", "clean_kept", "precision"))
            alike.setdefault((f"{row['corrupted']} / {row['clean']}", *shares), []).append(thresholds)
        rows += [[name, ", ".join(names), *values] for values, names in alike.items()]
    head = ["filter alone", "thresholds", "corrupted / clean it judges", "caught", "clean kept", "precision"]
    return _table(head, rows) + (f"\n\nFilters that took nothing: {', '.join(idle)}." if idle else "")


def _takes(row: Mapping[str, Any]) -> bool:
    return bool(row["recall"]["value"]) or row["clean_kept"]["value"] not in (None, 1.0)


def _areas(report: Mapping[str, Any]) -> str:
    rows = [
        [name, str(rates["corrupted"] + rates["clean"]), _number(rates["auc"]), _number(rates["average_precision"])]
        for name, rates in report["curves"].items()
    ]
    return _table(["score", "records", "area under ROC", "average precision"], rows)


def _chain(report: Mapping[str, Any]) -> str:
    held = report["suggested"]["held_out"]
    rows = [["all records", name, *_chain_row(rates)] for name, rates in report["chain"].items()]
    rows += [["without injected errors", name, *_chain_row(rates)] for name, rates in report["own"].items()]
    rows += [["held-out half", name, *_chain_row(rates)] for name, rates in held.items()]
    return _table(["chain on", "thresholds", "records", "caught", "clean kept", "precision", "corrupted after"], rows)


def _chain_row(rates: Mapping[str, Any]) -> list[str]:
    shares = [_share(rates[name]) for name in ("recall", "clean_kept", "precision", "corrupted_after")]
    return [str(rates["corrupted"] + rates["clean"]), *shares]


def _kinds(report: Mapping[str, Any]) -> str:
    sets = report["chain"]
    kinds = next(iter(sets.values()))["recall_by_kind"]
    rows = [
        [kind.replace("_", " "), str(value["n"]), *(_share(rates["recall_by_kind"][kind]) for rates in sets.values())]
        for kind, value in kinds.items()
    ]
    return _table(["what is wrong", "records", *(f"caught, {name}" for name in sets)], rows)


def _suggested(report: Mapping[str, Any]) -> str:
    chosen = report["suggested"]
    target = chosen["target"]
    values = "; ".join(f"`{name}: {value}`" for name, value in chosen["overrides"].items()) or "no change"
    moved = report["changes"]
    met, also = _verdict(chosen["found"]["met"]), _verdict(chosen["held_out_met"])
    gained, lost = moved["gained"], moved["lost"]
    return (
        f"Target: at most {target['max_corrupted']:.1%} corrupted among the kept, at least {target['min_clean']:.0%} "
        f"of the clean kept. Suggested: {values}. Target {met} on the half it was chosen on, {also} on the other. "
        f"It would keep {gained['records']} records more ({gained['corrupted']} of them corrupted) and drop "
        f"{lost['records']} more ({lost['corrupted']} corrupted)."
    )


def _verdict(met: bool) -> str:
    return "met" if met else "not met"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _share(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "—"
    if value["low"] is None:
        return f"{value['value']:.1%}"
    return f"{value['value']:.1%} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def _number(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "—"
    return f"{value['value']:.3f} ({value['low']:.3f}–{value['high']:.3f})"
