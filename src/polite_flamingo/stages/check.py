"""The gates `check_raw`, `check_distorted`, `check_rewritten` and `check_pf1m`: shards -> frame -> suite -> verdict.

A gate that holds writes ``reports/P/checks/check_<name>.json``, and ``check_<name>.ok`` with always the same content:
the stages after it depend on that one, so that other figures of a gate that holds re-run nothing. A gate that fails
raises and writes nothing but the Data Docs.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.filter.chain import ORDER
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import fates, telling
from polite_flamingo.io import Row, read_json, read_jsonl, read_shards, write_atomic, write_json
from polite_flamingo.params import Params
from polite_flamingo.quality import suites
from polite_flamingo.quality.check import NAMED_ROWS, Finding, Outcome, at_least, at_most, run_suite
from polite_flamingo.tracking.base import Tracker

if TYPE_CHECKING:
    import pandas as pd

HOLDS = "the gate holds\n"
TELLING = 10  # records named of a source outside its range
log = logging.getLogger(__name__)

ROLES = ("instruction", "annotation", "evaluation")
Gate = Callable[[Params], tuple["pd.DataFrame", tuple[suites.Expectation, ...], list[Finding]]]


def run(params: Params, tracker: Tracker, which: str) -> dict[str, Any]:
    """Check one kind of data.

    Args:
        params: The resolved parameters.
        tracker: Where counts are logged.
        which: ``raw``, ``distorted``, ``rewritten`` or ``pf1m``.

    Raises:
        QualityError: names what failed and the rows.
    """
    frame, suite, shares = GATES[which](params)
    docs = params.reports / "data_docs"
    store = Path(".work") / "great_expectations" / params.profile
    found = run_suite(which, frame, suite, docs=docs, store=store)
    if which == "pf1m":
        shares += _kept_shares(params, docs, store)
    outcome = Outcome(which, found.records, [*found.findings, *shares])
    tracker.metrics({"records": outcome.records, "checks": len(outcome.findings), "failed": len(outcome.failed)})
    outcome.require(docs / "index.html")
    report = outcome.to_json()
    write_json(params.reports / "checks" / f"check_{which}.json", report)
    write_atomic(params.reports / "checks" / f"check_{which}.ok", HOLDS)
    log.info("%s: %d records, %d checks hold", which, outcome.records, len(outcome.findings))
    return report


def _raw(params: Params) -> tuple[pd.DataFrame, tuple[suites.Expectation, ...], list[Finding]]:
    folder = params.data / "samples"
    frame = _frame(
        (raw_row(row, role) for role in ROLES for row in read_shards(folder / role)),
        ("id", "task", "role", "licence", "images", "instruction", "answer", "images_fit_task", "boxes_normalised"),
    )
    rejects = list(read_jsonl(folder / "quarantine.jsonl"))
    read = _rows_read(params.reports / "download.json", len(frame) + len(rejects))
    named = [f"{r['source']}: {r['file']}, row {r['row']}: {r['reason']}" for r in rejects[:NAMED_ROWS]]
    because = "quality.max_rejected_share: more unusable rows than this mean a wrong file or a wrong reader"
    share = len(rejects) / max(read, 1)
    return frame, suites.raw(), [at_most("quarantine share", share, params.quality.max_rejected_share, because, named)]


def raw_row(row: Row, role: str) -> Row:
    """What the suite of raw data reads of a sample."""
    turns = json.loads(row["turns"])
    extras = json.loads(row["extras"])
    images = len(json.loads(row["images"]))
    task = row["task"]
    if task == "change":
        fits = images == 2
    else:
        fits = images >= 1 or bool(extras.get("image_missing")) or task not in ("caption", "vqa", "detail")
    return {
        "id": row["id"],
        "task": task,
        "role": role,
        "licence": row["licence"],
        "images": row["images"],
        "instruction": turns[0][1],
        "answer": turns[1][1],
        "images_fit_task": fits and not (task == "text" and images),
        "boxes_normalised": all(_normalised(box) for box in extras.get("boxes") or ()),
    }


def _normalised(box: Any) -> bool:
    _, x1, y1, x2, y2 = box
    return 0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1


def _distorted(params: Params) -> tuple[pd.DataFrame, tuple[suites.Expectation, ...], list[Finding]]:
    columns = ("id", "sample_id", "task", "split", "strategy", "drafted", "revised")
    rows = list(read_shards(params.data / "pairs", columns))
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["sample_id"], set()).add(row["split"])
    more = (
        {
            **row,
            "changed": row["drafted"].strip() != row["revised"].strip(),
            "held_out_apart": len(splits[row["sample_id"]]) == 1,
        }
        for row in rows
    )
    return _frame(more, (*columns, "changed", "held_out_apart")), suites.distorted(), []


def _rewritten(params: Params) -> tuple[pd.DataFrame, tuple[suites.Expectation, ...], list[Finding]]:
    columns = ("id", "task", "finish_reason", "raw_answer", "rewritten")
    frame = _frame(read_shards(params.data / "rewrites", columns), columns)
    rewritten = set(frame["id"])
    annotations = [row["id"] for row in read_shards(params.data / "samples" / "annotation", ["id"])]
    quarantine = params.data / "rewrites" / "quarantine.jsonl"
    if quarantine.is_file():
        rewritten.update(row["row"] for row in read_jsonl(quarantine))
    lost = [sample for sample in annotations if sample not in rewritten]
    because = "every annotation is rewritten or in quarantine, none is lost"
    return frame, suites.rewritten(), [at_most("annotations without a rewrite", len(lost), 0, because, lost)]


def _pf1m(params: Params) -> tuple[pd.DataFrame, tuple[suites.Expectation, ...], list[Finding]]:
    folder = params.data / "pf1m"
    filters = params.filter
    names = (
        "id",
        "task",
        "licence",
        "images",
        "instruction",
        "rewritten",
        "words",
        "sts",
        "nli",
        "leaked_boxes",
        "probe",
    )
    frame = _frame(map(pf1m_row, read_shards(folder / "kept")), names)
    counts = sum(fates(folder / DECISIONS).values(), Counter())
    share = counts["kept"] / max(counts.total(), 1)
    del counts["kept"]
    named = [f"{count} records rejected by {reason}" for reason, count in counts.most_common(NAMED_ROWS)]
    because = "quality.min_kept_share: filters that drop more than this hide a broken rewriter"
    suite = suites.pf1m(
        max_words=filters.length.max_words,
        min_cosine=filters.sts.min_cosine,
        max_boxes=filters.leaked_boxes.max_boxes,
        rejected_nli=list(filters.nli.reject),
    )
    return frame, suite, [at_least("kept share", share, params.quality.min_kept_share, because, named)]


def _kept_shares(params: Params, docs: Path, store: Path) -> list[Finding]:
    """Whether the filters keep of each source a share within its range; a source outside names its telling records."""
    import pandas as pd

    folder = params.data / "pf1m" / DECISIONS
    ranges = params.quality.keep_range
    known = {name: counts for name, counts in fates(folder).items() if counts.total() >= ranges.min_records}
    if not known:
        return []
    wanted = {name: ranges.per_source.get(name, ranges.default) for name in known}
    shares = {name: round(counts["kept"] / counts.total(), 4) for name, counts in known.items()}
    columns = {suites.KEPT_SHARE.format(name): [share] for name, share in shares.items()}
    frame = pd.DataFrame({"id": ["all records"], **columns})
    found = run_suite("pf1m_sources", frame, suites.kept_shares(wanted), docs=docs, store=store)
    named = []
    for name, finding in zip(known, found.findings, strict=True):
        if not finding.passed:
            finding = replace(
                finding, unexpected=0, rows=_telling(folder, name, known[name], shares[name], wanted[name])
            )
        named.append(finding)
    return named


def _telling(
    folder: Path, source: str, counts: Counter[str], share: float, wanted: tuple[float, float]
) -> tuple[str, ...]:
    """What took most of a source, and the records nearest to that filter's threshold."""
    low, high = wanted
    taken = Counter({name: count for name, count in counts.items() if name != "kept"}).most_common(1)
    name, count = taken[0] if taken else (ORDER[0], 0)
    said = f"{source}: {share:.4f} of {counts.total()} records kept, outside {low} to {high}; {name} took most, {count}"
    side = "rejected" if share < low else "kept"
    nearest = telling(folder, source, name, kept=share > high, most=TELLING)
    return (f"{said}; {side} nearest to its threshold:", *nearest)


def pf1m_row(row: Row) -> Row:
    """What the suite of PF-1M reads of a kept record."""
    from polite_flamingo.records import Task
    from polite_flamingo.scorers.nli import nli_label
    from polite_flamingo.scorers.text import count_boxes

    scores = json.loads(row["scores"])
    task = Task(row["task"])
    nli = scores.get("nli") if task.is_vqa else None
    return {
        **{name: row[name] for name in ("id", "task", "licence", "images", "instruction", "rewritten")},
        "words": len(row["rewritten"].split()),
        "sts": scores.get("sts") if task.is_caption else None,
        "nli": nli_label(nli) if nli else None,
        "leaked_boxes": count_boxes(row["rewritten"]),
        "probe": bool(json.loads(row["extras"]).get("probe")),
    }


def _frame(rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame.from_records(list(rows), columns=list(columns))


def _rows_read(report: Path, counted: int) -> int:
    """Rows the readers met; what they drew from can be far more than what they kept."""
    return max(int(read_json(report).get("read", counted)), counted) if report.is_file() else counted


GATES: dict[str, Gate] = {"raw": _raw, "distorted": _distorted, "rewritten": _rewritten, "pf1m": _pf1m}
