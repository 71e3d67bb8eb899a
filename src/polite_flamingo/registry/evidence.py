"""What a version was measured by: a score per figure and record, as a small Parquet file that goes with the version.

Two versions are compared record by record, so each figure also says what it was measured on: the hash of the records,
their images and whoever judged. A figure of other records or judges is no comparison.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.sets import outcomes
from polite_flamingo.io.files import replacing
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.text import Row
from polite_flamingo.records import Rewrite, RewritePair

if TYPE_CHECKING:
    from polite_flamingo.world.truth import GroundTruth

FILE = "evidence.parquet"
MOST_RECORDS = 20_000  # of one figure; the ones with the smallest hash of their id, so the same for all versions
HashImage = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Scores of one version.

    Args:
        scores: Figure -> record -> score.
        groups: Record -> its images; records of a group are drawn together by the bootstrap.
        sets: Figure -> hash of what was asked and who judged.
    """

    scores: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, str]
    sets: Mapping[str, str]

    def means(self) -> dict[str, float]:
        """Mean of every figure."""
        return {figure: sum(values.values()) / len(values) for figure, values in self.scores.items()}

    def write(self, path: Path) -> None:
        """Write a row per figure and record; equal evidence gives equal bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            (figure, record, self.groups[record], score)
            for figure, values in sorted(self.scores.items())
            for record, score in sorted(values.items())
        ]
        columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
        names = ("figure", "record", "images", "score")
        types = (pa.string(), pa.string(), pa.string(), pa.float64())
        table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
        table = table.replace_schema_metadata({"sets": json.dumps(dict(self.sets), sort_keys=True)})
        with replacing(path) as tmp:
            pq.write_table(table, tmp, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Evidence:
        """Inverse of `write`.

        Raises:
            DataError: the file is none of ours.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            sets = json.loads((table.schema.metadata or {})[b"sets"])
            rows = table.select(["figure", "record", "images", "score"]).to_pylist()
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise DataError("the scores of a version cannot be read", value=str(error), where=path) from error
        scores: dict[str, dict[str, float]] = {}
        for row in rows:
            scores.setdefault(row["figure"], {})[row["record"]] = row["score"]
        return cls(scores, {row["record"]: row["images"] for row in rows}, sets)


def assistant_evidence(
    answers: Iterable[Row], *, seen_sources: Collection[str], judges: Mapping[str, str], hash_image: HashImage
) -> Evidence:
    """Scores of an assistant, from its judged answers.

    Args:
        answers: Rows of ``data/P/answers/<model>``.
        seen_sources: As in `evaluate.sets.measure`.
        judges: Hash of the weights of ``nli``, ``sts`` and ``reward``.
        hash_image: Content hash of an image by its path.
    """
    records = {row["id"]: Rewrite.from_row(row) for row in _drawn(answers)}
    scores = {name: values for name, values in outcomes(records.values(), seen_sources=seen_sources).items() if values}
    asked = {
        key: [r.instruction, r.raw_answer, dict(r.extras), [(i.path, hash_image(i.path)) for i in r.images]]
        for key, r in records.items()
    }
    by = {name: judges.get(_judge_of(name)) for name in scores}
    return Evidence(scores, {key: _images(r) for key, r in records.items()}, _sets(scores, asked, by))


def rewriter_evidence(
    revised: Iterable[Row],
    rewrites: Iterable[Row],
    kept: Mapping[str, bool],
    *,
    truth: GroundTruth | None,
    judges: Mapping[str, Any],
    hash_image: HashImage,
) -> Evidence:
    """Scores of a rewriter: what it gains on held-out pairs, and what becomes of its rewrites of the annotations.

    Args:
        revised: Rows of ``data/P/revised/rewriter``.
        rewrites: Rows of the scored rewrites; injected corruptions are left out.
        kept: Record -> whether the filters keep its rewrite.
        truth: Of a rendered world; None: ``answer_preserved`` is not measured.
        judges: What the filters' verdicts depend on: thresholds and weights of the scorers.
        hash_image: Content hash of an image by its path.
    """
    pairs = {row["id"]: row for row in _drawn(revised)}
    records = {r.id: r for r in map(Rewrite.from_row, _drawn(rewrites)) if "probe" not in r.extras}
    scores = {
        "rouge_l_gain": {key: row["rouge_l_revised"] - row["rouge_l_drafted"] for key, row in pairs.items()},
        "kept": {key: float(kept[key]) for key in records},
        "answer_preserved": {
            key: float(verdict.answer_preserved)
            for key, r in records.items()
            if truth is not None and (verdict := truth.judge_rewrite(r)) is not None
        },
    }
    scores = {name: values for name, values in scores.items() if values}
    asked: dict[str, Any] = {}
    groups: dict[str, str] = {}
    for key, pair in ((key, RewritePair.from_row(row)) for key, row in pairs.items()):
        images = [(i.path, hash_image(i.path)) for i in pair.images]
        asked[key], groups[key] = [pair.instruction, pair.drafted, pair.revised, images], _images(pair)
    for key, r in records.items():
        images = [(i.path, hash_image(i.path)) for i in r.images]
        asked[key], groups[key] = [r.instruction, r.raw_answer, images], _images(r)
    return Evidence(scores, groups, _sets(scores, asked, {"kept": judges}))


def _drawn(rows: Iterable[Row]) -> list[Row]:
    """At most `MOST_RECORDS` rows, the same ones whatever their order."""
    return heapq.nsmallest(MOST_RECORDS, rows, key=lambda row: hashlib.sha256(row["id"].encode()).digest())


def _images(record: Rewrite | RewritePair) -> str:
    """The group of a record: its images, or itself where it has none."""
    return " ".join(image.path for image in record.images) or record.id


def _judge_of(figure: str) -> str:
    """Who judges a figure of an assistant; exact ones and Rouge-L need no model."""
    if figure == "reward":
        return "reward"
    if figure.endswith("_sts"):
        return "sts"
    return "nli" if figure.startswith("qa_") and not figure.endswith("_exact") else "none"


def _sets(
    scores: Mapping[str, Mapping[str, float]], asked: Mapping[str, Any], judges: Mapping[str, Any]
) -> dict[str, str]:
    return {
        figure: fingerprint({key: asked[key] for key in values}, judges.get(figure))
        for figure, values in scores.items()
    }
