"""What each gate looks at: shards become a frame with one row per record, beside the suite that has to hold for it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.filter.chain import ORDER, FilterSettings
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import KEPT, REJECTED, fate_counts, nearest_records, read_decided
from polite_flamingo.io.chunks import chunked
from polite_flamingo.io.shards import count_shard, read_shards, shard_files
from polite_flamingo.io.text import Row, read_json, read_jsonl
from polite_flamingo.quality import suites, watch
from polite_flamingo.quality.check import NAMED_ROWS, Check, NamedRow, at_least, at_most
from polite_flamingo.quality.drift import Figures
from polite_flamingo.quality.settings import KeepRange, QualitySettings
from polite_flamingo.quality.validator import Validator
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.text import count_boxes

if TYPE_CHECKING:
    import pandas as pd

NEAREST = 10  # records named of a source outside its range
ROWS_AT_ONCE = 10_000  # as Python objects; a frame takes a third of that
ROLES = ("instruction", "annotation", "evaluation", "pf1m")


@dataclass(frozen=True)
class Gate:
    """What has to hold of one kind of data.

    Args:
        frame: One row per record.
        suite: What has to hold for its columns.
        figures: What is compared with the accepted run.
        shares: Figures of the whole, already compared with their bounds.
    """

    frame: pd.DataFrame
    suite: tuple[suites.Expectation, ...]
    figures: Figures
    shares: list[Check] = field(default_factory=list)


def raw(samples: Path, report: Path, settings: QualitySettings) -> Gate:
    """Samples as the readers yield them.

    Args:
        samples: Folder of the samples by role, with their quarantine.
        report: Report of the stage `download`.
        settings: Bounds.
    """
    frame = _frame(
        (raw_row(row, role) for role in ROLES for row in read_shards(samples / role)),
        ("id", "task", "role", "licence", "images", "instruction", "answer", "images_fit_task", "boxes_normalised"),
        *(samples / role for role in ROLES),
    )
    rejects = list(read_jsonl(samples / "quarantine.jsonl"))
    read = _rows_read(report, len(frame) + len(rejects))
    named = [NamedRow(r["source"], r["reason"], r["file"], r["row"]) for r in rejects]
    because = "quality.max_rejected_share: more unusable rows than this mean a wrong file or a wrong reader"
    share = len(rejects) / max(read, 1)
    figures = watch.texts(frame, ("task", "role", "licence"), ("instruction", "answer"))
    return Gate(
        frame, suites.raw(), figures, [at_most("quarantine share", share, settings.max_rejected_share, because, named)]
    )


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


def distorted(pairs: Path) -> Gate:
    """Training pairs of the rewriter."""
    columns = ("id", "sample_id", "task", "split", "strategy", "drafted", "revised")
    rows = list(read_shards(pairs, columns))
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
    frame = _frame(more, (*columns, "changed", "held_out_apart"), pairs)
    figures = watch.texts(frame, ("task", "strategy"), ("drafted", "revised"), "sample_id")
    return Gate(frame, suites.distorted(), figures)


def rewritten(rewrites: Path, annotations: Path) -> Gate:
    """Rewritten annotations; none of the annotations is lost."""
    columns = ("id", "task", "finish_reason", "raw_answer", "rewritten")
    frame = _frame(read_shards(rewrites, columns), columns, rewrites)
    known = set(frame["id"])
    quarantine = rewrites / "quarantine.jsonl"
    if quarantine.is_file():
        known.update(row["row"] for row in read_jsonl(quarantine))
    samples = zip(read_shards(annotations, ["id"]), _places([annotations]), strict=True)
    lost = [NamedRow(row["id"], "", *place) for row, place in samples if row["id"] not in known]
    because = "every annotation is rewritten or in quarantine, none is lost"
    figures = watch.texts(frame, ("task", "finish_reason"), ("raw_answer", "rewritten"))
    return Gate(
        frame, suites.rewritten(), figures, [at_most("annotations without a rewrite", len(lost), 0, because, lost)]
    )


def pf1m(folder: Path, filters: FilterSettings, settings: QualitySettings) -> Gate:
    """The records that the filters kept.

    Args:
        folder: What the stage `filter` wrote.
        filters: What it filtered with.
        settings: Bounds.
    """
    columns = (
        "id", "task", "licence", "images", "instruction", "rewritten", "words", "sts", "nli", "leaked_boxes", "probe",
    )  # fmt: skip
    frame = _frame((pf1m_row(rewrite) for rewrite, _ in read_decided(folder, KEPT, ())), columns, folder / KEPT)
    counts = sum(fate_counts(folder / DECISIONS).values(), Counter())
    share = counts["kept"] / max(counts.total(), 1)
    del counts["kept"]
    named = [NamedRow(f"{count} records rejected by {reason}") for reason, count in counts.most_common(NAMED_ROWS)]
    because = "quality.min_kept_share: filters that drop more than this hide a broken rewriter"
    suite = suites.pf1m(
        max_words=filters.length.max_words,
        min_cosine=filters.sts.min_cosine,
        max_boxes=filters.leaked_boxes.max_boxes,
        rejected_nli=list(filters.nli.reject),
    )
    return Gate(
        frame,
        suite,
        watch.decisions(folder / DECISIONS),
        [at_least("kept share", share, settings.min_kept_share, because, named)],
    )


def kept_shares(decisions: Path, ranges: KeepRange, validator: Validator) -> list[Check]:
    """Whether the filters keep of each source a share within its range; a source outside names its telling records.

    Args:
        decisions: The decision table.
        ranges: Lowest and highest shares.
        validator: Runs the suite.
    """
    import pandas as pd

    known = {name: counts for name, counts in fate_counts(decisions).items() if counts.total() >= ranges.min_records}
    if not known:
        return []
    bounds = {name: ranges.per_source.get(name, ranges.default) for name in known}
    shares = {name: round(counts["kept"] / counts.total(), 4) for name, counts in known.items()}
    columns = {suites.KEPT_SHARE.format(name): [share] for name, share in shares.items()}
    frame = pd.DataFrame({"id": ["all records"], **columns})
    result = validator.run("pf1m_sources", frame, suites.kept_shares(bounds))
    checks = []
    for name, check in zip(known, result.checks, strict=True):
        if not check.passed:
            summary, rows = _telling(decisions, name, known[name], shares[name], bounds[name])
            check = replace(check, unexpected=0, summary=summary, rows=rows)
        checks.append(check)
    return checks


def _telling(
    folder: Path, source: str, counts: Counter[str], share: float, bounds: tuple[float, float]
) -> tuple[str, tuple[NamedRow, ...]]:
    """What took most of a source, and the records nearest to that filter's threshold."""
    low, high = bounds
    taken = Counter({name: count for name, count in counts.items() if name != "kept"}).most_common(1)
    name, count = taken[0] if taken else (ORDER[0], 0)
    summary = (
        f"{source}: {share:.4f} of {counts.total()} records kept, outside {low} to {high}; {name} took most, {count}"
    )
    side = REJECTED if share < low else KEPT
    nearest = [line.partition(": ") for line in nearest_records(folder, source, name, kept=side == KEPT, most=NEAREST)]
    places = _located(folder.parent / side, {record for record, _, _ in nearest})
    rows = tuple(NamedRow(record, note, *places.get(record, (None, None))) for record, _, note in nearest)
    return f"{summary}; {side} nearest to its threshold:", rows


def pf1m_row(rewrite: Rewrite) -> Row:
    """What the suite of PF-1M reads of a kept record."""
    row, scores = rewrite.to_row(), rewrite.scores
    nli = scores.get("nli") if rewrite.task.is_vqa else None
    return {
        **{name: row[name] for name in ("id", "task", "licence", "images", "instruction", "rewritten")},
        "words": len(rewrite.rewritten.split()),
        "sts": _comparable(scores.get("sts")) if rewrite.task.is_caption else None,
        "nli": nli_label(nli) if nli else None,
        "leaked_boxes": count_boxes(rewrite.rewritten),
        "probe": bool(rewrite.extras.get("probe")),
    }


def _comparable(score: float | None) -> float | None:
    """A score as a frame shows it: one that is no number lies below every bound instead of counting as absent."""
    return -math.inf if score is not None and math.isnan(score) else score


def _frame(rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...], *folders: Path) -> pd.DataFrame:
    """A frame of these columns, and of ``file`` and ``row``: the rows are those of the shard folders, in order."""
    import pandas as pd

    placed = ({**row, "file": file, "row": number} for row, (file, number) in zip(rows, _places(folders), strict=True))
    named = [*columns, "file", "row"]
    parts = [pd.DataFrame.from_records(part, columns=named) for part in chunked(placed, ROWS_AT_ONCE)]
    return pd.concat(parts, ignore_index=True).infer_objects() if parts else pd.DataFrame(columns=named)


def _places(folders: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """File and number in it of every row of some shard folders, in order, without reading a row."""
    for folder in folders:
        for path in shard_files(folder):
            name = path.as_posix()
            for number in range(count_shard(path)):
                yield name, number


def _located(folder: Path, ids: Set[str]) -> dict[str, tuple[str, int]]:
    """File and row of some records of a shard folder."""
    rows = zip(read_shards(folder, ["id"]), _places([folder]), strict=True)
    return {row["id"]: place for row, place in rows if row["id"] in ids}


def _rows_read(report: Path, counted: int) -> int:
    """Rows the readers met; what they drew from can be far more than what they kept."""
    return max(int(read_json(report).get("read", counted)), counted) if report.is_file() else counted
