"""One record's whole life, from the annotation to the filters' verdict."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import read_decision
from polite_flamingo.filter.learned import read_model
from polite_flamingo.filter.sets import ALL
from polite_flamingo.filter.table import batch_of
from polite_flamingo.io.shards import read_shards, readable, shard_files
from polite_flamingo.io.text import Row, read_jsonl
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.nli import LABELS

ROLES = ("annotation", "instruction", "evaluation", "pf1m")
MAX_IDS = 8
AT_LEAST = ("sts", "paragraphs", "judge_supported")  # filters that reject what is below their threshold
EXTRA_CHARACTERS = 200  # characters of one extra


def explain(params: Params, name: str) -> str:
    """Tell what happened to a record.

    Args:
        params: Resolved parameters; their profile's outputs are read.
        name: A record's id, or a part of it that no other record's id has.

    Raises:
        DataError: no record, or more than one, goes by that name; the message lists near ones.
    """
    data = params.data
    record = _resolve(params, name)
    lines = [record, ""]
    for role in ROLES:
        for row in _rows(data / "samples" / role, "id", record):
            lines += _sample(params, row, role)
    for row in _quarantined(data, record):
        lines += ["QUARANTINE", f"  {row['file']}, row {row['row']}: {row['reason']} {row['value']}".rstrip(), ""]
    for row in _rows(data / "pairs", "sample_id", record):
        lines += _pair(row)
    for row in _rows(data / "rewrites", "id", record):
        lines += ["REWRITE", *_text("rewritten", row["rewritten"]), f"  finish reason  {row['finish_reason']}"]
        extras = json.loads(row["extras"])
        lines += [f"  {name:<14} {_value(extras[name])}" for name in ("prompt", "repair") if name in extras] + [""]
    for row in _rows(data / "scored", "id", record):
        lines += [*score_lines(json.loads(row["scores"])), *_risk(params, row), ""]
        if probe := json.loads(row["extras"]).get("probe"):
            lines += [f"INJECTED to measure the filters ({probe}): judged like all others, never part of PF-1M", ""]
    for fate in ("kept", "rejected"):
        for row in _rows(data / "pf1m" / fate, "id", record):
            lines += _decision(data, row, fate)
    return "\n".join(lines).rstrip()


def _sample(params: Params, row: Row, role: str) -> list[str]:
    turns = json.loads(row["turns"])
    folders = [s.folder for s in params.sources if (s.name, s.role) == (row["source"], role)]
    lines = [
        f"SAMPLE ({role})",
        f"  source         {row['source']}, split {row['split']}, files below {', '.join(folders) or '?'}",
        f"  licence        {row['licence']}",
        f"  task           {row['task']}",
    ]
    lines += [f"  image          {params.image_root / path}" for path in json.loads(row["images"])]
    for speaker, text, _ in turns:
        lines += _text(speaker, text)
    for name, value in sorted(json.loads(row["extras"]).items()):
        lines += [f"  {name:<14} {_shorten(json.dumps(value, ensure_ascii=False))}"]
    return [*lines, ""]


def _pair(row: Row) -> list[str]:
    lines = [f"PAIR {row['id']} ({row['strategy']}, {row['split']}, seed {row['seed']})"]
    lines += _text("command", row["command"]) if row["command"] else []
    return [*lines, *_text("drafted", row["drafted"]), *_text("revised", row["revised"]), ""]


def score_lines(scores: Mapping[str, Any]) -> list[str]:
    """One line per score that applies, with what it becomes when the lowest paragraphs are cut."""
    lines = ["SCORES"]
    for name, value in sorted(scores.items()):
        if value is None or name.endswith("_by_cut"):
            continue
        text = _value(value)
        if name == "nli":
            text = ", ".join(f"{label} {_value(logit)}" for label, logit in zip(LABELS, value, strict=True))
        lines.append(f"  {name:<20} {text}")
        if cut := (scores.get(f"{name}_by_cut") or [])[1:]:
            lowest = "lowest paragraph" if len(cut) == 1 else f"1 to {len(cut)} lowest paragraphs"
            lines[-1] += f"  (without the {lowest}: {', '.join(map(_value, cut))})"
    return lines


def _risk(params: Params, row: Row) -> list[str]:
    """What each feature adds to the log-odds of an error, where there is a learned filter."""
    if params.filter.learned.model is None:
        return []
    batch = batch_of([Rewrite.from_row(row)])
    model = read_model(params.filter.learned.model)
    parts = {name: float(part[0]) for name, part in model.parts(batch).items()}
    lines = ["", f"RISK  {_value(float(model.risk(batch)[0]))} of an error, as its scores came; in log-odds:"]
    lines += [f"  {'intercept':<26} {model.intercept:+.2f}"]
    return lines + [
        f"  {name:<26} {parts[name]:+.2f}" for name in sorted(parts, key=lambda n: -abs(parts[n])) if parts[name]
    ]


def _decision(data: Path, row: Row, fate: str) -> list[str]:
    """What every filter said, also after the first rejection, and what became of the record."""
    decision = read_decision(data / "pf1m" / DECISIONS, row["id"])
    lines, reason = [], ""
    if decision is not None:
        cut, reason = decision["cut"], decision["reason"]
        lines = verdict_lines(decision, len(cut))
        lines += [f"  cut (CLIP {_value(logit)}): {_shorten(paragraph)}" for logit, paragraph in cut]
    if fate == "kept":
        return [*lines, "", "KEPT in PF-1M", *_text("final", row["rewritten"]), ""]
    return [*lines, "", f"REJECTED  {reason}", ""]


def verdict_lines(decision: Mapping[str, Any], cut: int) -> list[str]:
    """What every filter measured, compared with and said, a line each.

    Args:
        decision: A row of the decision table, thresholds parsed; filters that it lacks are left out.
        cut: Number of paragraphs cut from the text.
    """
    rows = (
        f"  {state:<10} {name:<19} {number:>8}  {limit}" for state, name, number, limit in verdict_rows(decision, cut)
    )
    return [f"FILTERS{'':<24}score  threshold", *rows]


def verdict_rows(decision: Mapping[str, Any], cut: int) -> list[tuple[str, str, str, str]]:
    """What every filter said, its name, measure and threshold; the arguments are those of `verdict_lines`."""
    rows = []
    for name in (name for name in ALL if name in decision):
        score, threshold, passed = (decision[name][part] for part in ("score", "threshold", "passed"))
        applies = not passed or score is not None or name == "unfinished"
        if not passed:
            state = "FAILED" if name == decision["failed"] else "failed too"
        elif not applies:
            state = "-"
        else:
            state = "off" if threshold is None else f"cuts {cut}" if name == "paragraphs" and cut else "passed"
        number = "" if score is None else f"{score:.0f}" if score == int(score) else _value(score)
        rows.append((state, name, number, _threshold(name, threshold) if applies else "does not apply"))
    return rows


def _threshold(name: str, value: Any) -> str:
    if value is None:
        return "off"
    if name == "length":
        return f"{value[0]} to {value[1]}"
    if name == "nli":
        return f"rejects {', '.join(value) or 'nothing'}"
    if name == "unfinished":
        return "the model ended the text"
    return f"{'at least' if name in AT_LEAST else 'at most'} {value}"


def _resolve(params: Params, name: str) -> str:
    known: dict[str, None] = {}
    for folder in (*(params.data / "samples" / role for role in ROLES), params.data / "rewrites"):
        if folder.is_dir():
            known.update(dict.fromkeys(row["id"] for row in read_shards(folder, ["id"])))
    if not known and not (params.data / "samples").is_dir():
        raise DataError(
            "no records yet", where=params.data, next_step="run `polite-flamingo run`, or `make demo` in a clone"
        )
    quarantined = {str(row["row"]) for row in _quarantined(params.data)}
    if name in known or name in quarantined:
        return name
    matches = [record for record in known if name.lower() in record.lower()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(matches[:MAX_IDS]) + (", …" if len(matches) > MAX_IDS else "")
        raise DataError(f"{len(matches)} records match", value=name, next_step=f"give more of the id: {listed}")
    near = difflib.get_close_matches(name, list(known), n=MAX_IDS, cutoff=0.4) or list(known)[:3]
    raise DataError("no such record", value=name, where=params.data, next_step=f"near ones: {', '.join(near)}")


def _quarantined(data: Path, record: str | None = None) -> Iterator[Row]:
    path = data / "samples" / "quarantine.jsonl"
    if path.is_file():
        yield from (row for row in read_jsonl(path) if record is None or str(row["row"]) == record)


def _rows(folder: Path, column: str, value: str) -> list[Row]:
    """Rows of a shard folder whose `column` is `value`; Parquet reads little more than those."""
    import pyarrow.dataset as ds

    files = shard_files(folder)
    if not files:
        return []
    with readable(folder):
        rows: list[Row] = ds.dataset(files).to_table(filter=ds.field(column) == value).to_pylist()
    return rows


def _text(name: str, text: str) -> list[str]:
    first, *rest = text.split("\n")
    return [f"  {name:<14} {first}", *(f"  {'':<14} {line}" for line in rest)]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "-" if value is None else str(value)


def _shorten(text: str) -> str:
    return text if len(text) <= EXTRA_CHARACTERS else text[:EXTRA_CHARACTERS] + "…"
