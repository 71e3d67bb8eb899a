"""All stages' figures as one report: headline figures first, where to look last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.markdown import escaped
from polite_flamingo.params.schema import Params
from polite_flamingo.reports.over_seeds import RECIPE, read_ablations, seed_lines
from polite_flamingo.reports.summary import read_reports

Figures = dict[str, Any]

TUNED = ("raw", "stage1", "stage2", "stage3")
COLUMNS = {
    "qa_in_domain": "in domain",
    "qa_in_domain_without_image": "no image",
    "qa_out_of_domain": "out of dom.",
    "caption_rouge_l": "cap. Rouge",
    "caption_sts": "cap. STS",
    "change_sts": "change STS",
    "reward": "reward",
}
MAIN = {"question": "nli", "caption": "rouge_l", "change": "sts", "pair": "sts"}  # kind of a set -> its figure here
NAMES = {"nli": "NLI", "rouge_l": "Rouge-L", "sts": "STS"}
FILTERED = ("records", "kept", "kept_share", "recall_of_corrupted", "clean_kept", "probes")


def build_report(params: Params) -> Figures:
    """Merge the reports of a profile's stages.

    Returns:
        ``rewriter``, ``rewrite``, ``pf1m``, ``reward``, ``filter`` and ``tune`` hold the headline figures, those of
        stages that have not run are absent; ``over_seeds`` has those of the recipe trained with several seeds, where
        the ablations did; ``stages`` has every stage's own report, ``checks`` the gates, ``where`` what to open.

    Raises:
        DataError: no stage has run yet.
    """
    stages: dict[str, Figures] = read_reports(params.reports)
    if not stages:
        raise DataError("there is nothing to report", where=params.reports, next_step="`polite-flamingo run`")
    report: Figures = {"profile": params.profile, **_headline(stages), "stages": stages}
    if "evaluate" in stages:
        ablations, report["over_seeds_missing"] = read_ablations(params.profile, stages["evaluate"].get("judges"))
        if ablations is not None:
            report["over_seeds"] = {name: ablations["variants"][RECIPE][name] for name in ("seeds", "stages", "steps")}
    report["checks"] = {
        check["name"]: {"passed": check["passed"], "records": check["records"], "checks": len(check["findings"])}
        for check in map(read_json, sorted((params.reports / "checks").glob("*.json")))
    }
    report["where"] = {
        "MLflow and Prefect": "polite-flamingo ui",
        "Data Docs": str(params.reports / "data_docs" / "index.html"),
        "filtering": str(params.reports / "filtering.html"),
        **({"figures": str(params.reports / "figures")} if "evaluate" in stages else {}),
        "PF-1M": str(params.data / "pf1m" / "pf1m.json"),
        "one record": "polite-flamingo explain ID",
    }
    return report


def render_report(report: Figures) -> str:
    """The headline figures as text for one screen."""
    lines = [f"Profile {report['profile']}"]
    stages = report["stages"]
    if "download" in stages:
        kept = ", ".join(f"{count} {role}" for role, count in stages["download"].get("kept", {}).items())
        lines.append(_line("samples", f"{kept}; {stages['download'].get('rejected', 0)} rows in quarantine"))
    if "distort" in stages:
        pairs = {name: counts["made"] for name, counts in stages["distort"].get("strategies", {}).items()}
        strategies = ", ".join(f"{count} {name}" for name, count in pairs.items())
        lines.append(_line("pairs", f"{stages['distort'].get('pairs')} ({strategies})"))
    if "rewriter" in report:
        lines.append(
            _line("rewriter", f"Rouge-L gain on held-out pairs {_number(report['rewriter'].get('rouge_l_gain'))}")
        )
    if "pf1m" in report:
        lines += _pf1m_lines(report)
    if "tune" in report:
        lines += _tune_lines(report["tune"])
        lines += _seed_lines(report)
    if stages.get("evaluate", {}).get("sets"):
        lines += _set_lines(stages["evaluate"]["sets"])
    if report["checks"]:
        gates = ", ".join(f"{name} {check['checks']} checks" for name, check in report["checks"].items())
        lines.append(_line("gates", gates))
    lines += ["", "Where to look"] + [f"  {name:<20}{target}" for name, target in report["where"].items()]
    return "\n".join(lines)


def first_records(params: Params, count: int) -> str:
    """The first `count` rewrites in order of id, kept or not, as Markdown: nothing is chosen by looking.

    Raises:
        DataError: nothing has been filtered yet.
    """
    from heapq import nsmallest

    from polite_flamingo.filter.decisions import read_decided

    folder = params.data / "pf1m"
    records = (record for state in ("kept", "rejected") for record in read_decided(folder, state, ("reason",)))
    parts = []
    for record, row in nsmallest(count, records, key=lambda pair: pair[0].id):
        fate = f"dropped: {escaped(row['reason'])}" if row["reason"] else "kept"
        texts = [("asked", record.instruction), ("annotation", record.raw_answer), ("rewritten", record.rewritten)]
        quoted = [f"- {name}: {' / '.join(escaped(x) for x in text.splitlines() if x)}" for name, text in texts]
        parts.append("\n".join([f"**{escaped(record.id)}** ({fate})", "", *quoted]))
    return "\n\n".join(parts)


def _headline(stages: Mapping[str, Figures]) -> Figures:
    headline: Figures = {}
    if "train_rewriter" in stages:
        headline["rewriter"] = stages["train_rewriter"]
    if "rewrite" in stages:
        headline["rewrite"] = dict(stages["rewrite"])
    if "filter" in stages:
        filtered = stages["filter"]
        headline["rewrite"] = {"answer_preserved": filtered["answer_preserved_before"], **headline.get("rewrite", {})}
        headline["pf1m"] = {"records": filtered["kept"], "answer_preserved": filtered["answer_preserved_after"]}
        headline["reward"] = filtered["reward"]
        headline["filter"] = {name: filtered[name] for name in FILTERED} | {
            "dropped": {row["filter"]: row["dropped"] for row in filtered["filters"]},
            "off": filtered.get("off", []),
            "concerns": filtered.get("concerns", []),
        }
    if "evaluate" in stages:
        headline["tune"] = {
            model: {name: interval["value"] for name, interval in figures.items()}
            for model, figures in stages["evaluate"]["models"].items()
        }
        headline["tune"]["win_rate"] = stages["evaluate"]["win_rate"]
    return headline


def _pf1m_lines(report: Figures) -> list[str]:
    filtered, reward = report["filter"], report["reward"]
    dropped = ", ".join(f"{name} {count}" for name, count in filtered["dropped"].items() if count) or "none"
    before, after = report["rewrite"]["answer_preserved"], report["pf1m"]["answer_preserved"]
    lines = [_line("PF-1M", f"{filtered['kept']} of {filtered['records']} rewrites kept; dropped: {dropped}")]
    if filtered["off"]:
        lines.append(_line("filters off", f"{', '.join(filtered['off'])}: the profile names no scorer for them"))
    lines += [_line("look at", f"{one['source']}: {one['what']}") for one in filtered["concerns"]]
    if before is not None:
        lines.append(_line("answers preserved", f"{_number(before)} of the rewrites, {_number(after)} of PF-1M"))
    if reward["raw"] is not None:
        shown = f"raw {_number(reward['raw'])}, rewritten {_number(reward['rewritten'])}"
        lines.append(_line("politeness reward", f"{shown} (pooled deviation {_number(reward['pooled_sd'])})"))
    if filtered["recall_of_corrupted"] is not None:
        shown = f"{_number(filtered['recall_of_corrupted'])} of the corrupted caught, {_number(filtered['clean_kept'])}"
        lines.append(_line("filters", f"{shown} of the clean kept ({filtered['probes']} injected)"))
    return lines


def _tune_lines(tune: Mapping[str, Figures]) -> list[str]:
    lines = ["", _line("tuned on", _row(COLUMNS.values()))]
    others = [name for name in tune if name not in ("annotation", "win_rate", *TUNED)]
    for model in ("annotation", *TUNED, *others):
        if model in tune:
            label = {"annotation": "(annotations)", "raw": "raw annotations"}.get(model, model)
            lines.append(_line(label, _row(_number(tune[model].get(name)) for name in COLUMNS)))
    return [*lines, ""]


def _seed_lines(report: Figures) -> list[str]:
    if "over_seeds" not in report:
        return [_line("other seeds", report["over_seeds_missing"]), ""]
    rows = [_line(name, "".join(f"{cell:>32}" for cell in cells)) for name, *cells in seed_lines(report["over_seeds"])]
    return [
        *rows,
        _line("", "changes with their 95 % interval over seeds and samples; in how many seeds they fall"),
        "",
    ]


def _set_lines(sets: Mapping[str, Figures]) -> list[str]:
    """A row per evaluation set: its main figure of every model and of Table 2's lower bound; more of the last model."""
    last = TUNED[-1]
    lines = [_line("sets", _cells("asks", "domain", "n", "by", "bound", *TUNED, "Rouge-L", "reward"))]
    for name, row in sets.items():
        main = MAIN[row["kind"]]
        values = {model: figures.get(main, {}).get("value") for model, figures in row["models"].items()}
        final = row["models"].get(last, {})
        cells = [
            *(row["kind"], "in" if row["in_domain"] else "out", str(row["n"]), NAMES[main]),
            *(_number(values.get(model)) for model in ("lower_bound", *TUNED)),
            *(_number(final.get(figure, {}).get("value")) for figure in ("rouge_l", "reward")),
        ]
        lines.append(_line(name, _cells(*cells)))
    return [*lines, _line("", f"bound: another sample's annotation; Rouge-L and reward of {last}"), ""]


def _cells(*cells: str) -> str:
    return "".join(f"{cell:>9}" if i < 1 else f"{cell:>8}" for i, cell in enumerate(cells))


def _row(cells: Any) -> str:
    texts: Sequence[str] = list(cells)
    return "".join(f"{text:>12}" for text in texts)


def _line(name: str, text: str) -> str:
    return f"  {name:<20}{text}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
