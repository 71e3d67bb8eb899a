"""The gates on shards as the stages write them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import write_decided

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.filter.chain import Decision, FilterResult
from polite_flamingo.filter.sets import ALL
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import read_json, write_json, write_jsonl
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.quality import baseline, gates
from polite_flamingo.quality.findings import read_findings
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn
from polite_flamingo.stages import check
from polite_flamingo.tracking.base import NullTracker

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(PROJECT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    return loaded


def _sample(number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"coco/train/{number}",
        "source": "coco",
        "split": "train",
        "licence": "CC BY 4.0",
        "task": Task.CAPTION,
        "turns": (Turn("human", "Describe.", (0,)), Turn("assistant", "a red circle")),
        "images": (Image("coco/1.png"),),
        "extras": {"boxes": [["circle", 0.1, 0.1, 0.5, 0.5]]},
    }
    return Sample(**{**values, **changes})


def _rewrite(number: int, **changes: Any) -> Rewrite:
    sample = _sample(number)
    values: dict[str, Any] = {
        "id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "licence": sample.licence,
        "task": Task.CAPTION,
        "instruction": "Describe.",
        "images": sample.images,
        "raw_answer": "a red circle",
        "rewritten": "There is a red circle in the image.",
        "finish_reason": "stop",
        "scores": {"sts": 0.8, "nli": None},
    }
    return Rewrite(**{**values, **changes})


def _write_samples(params: Params, samples: list[Sample], rejects: int = 0) -> None:
    for role in gates.ROLES:
        chosen = samples if role == "annotation" else []
        write_shards(params.data / "samples" / role, (sample.to_row() for sample in chosen))
    rows = [{"source": "coco", "file": "c.json", "row": str(n), "reason": "empty", "value": ""} for n in range(rejects)]
    write_jsonl(params.data / "samples" / "quarantine.jsonl", rows)
    write_json(params.reports / "download.json", {"read": len(samples) + rejects})


def _decided(rewrite: Rewrite, kept: bool) -> tuple[Rewrite, Decision]:
    """A record with a decision; STS is the only filter that measured anything."""
    verdicts = {name: FilterResult(None, None, True) for name in ALL}
    verdicts["sts"] = FilterResult(rewrite.scores["sts"], 0.4, kept)
    return rewrite, Decision(None if kept else "sts: 0.1, below 0.4", verdicts, rewrite, ())


def _write_pf1m(params: Params, kept: list[Rewrite], rejected: list[Rewrite]) -> None:
    decided = [_decided(r, True) for r in kept] + [_decided(r, False) for r in rejected]
    write_decided(params.data / "pf1m", decided)


def test_a_gate_that_holds_writes_the_report_the_next_stages_wait_for(params: Params) -> None:
    _write_samples(params, [_sample(n) for n in range(30)], rejects=1)
    report = check.run(params, NullTracker(), "raw")
    assert report == read_json(params.reports / "checks" / "check_raw.json")
    assert (report["passed"], report["records"]) == (True, 30)
    assert (params.reports / "data_docs" / "index.html").is_file()


def test_a_box_outside_the_image_fails_the_gate_and_names_the_row(params: Params) -> None:
    broken = _sample(3, extras={"boxes": [["circle", 0.1, 0.1, 1.5, 0.5]]})
    _write_samples(params, [_sample(1), _sample(2), broken])
    with pytest.raises(QualityError, match="boxes_normalised") as caught:
        check.run(params, NullTracker(), "raw")
    assert "coco/train/3" in str(caught.value)
    assert not (params.reports / "checks" / "check_raw.json").exists()
    found = read_findings(Path(), "tiny", "check_raw")
    assert found is not None
    assert (found["passed"], found["records"]) == (False, 3)
    (failed,) = found["failed"]
    place = "data/tiny/samples/annotation/part-000000.parquet"
    assert failed["rows"] == [{"id": "coco/train/3", "note": "'False'", "file": place, "row": 2}]


def test_a_gate_that_breaks_leaves_no_findings_of_an_earlier_run(params: Params) -> None:
    _write_samples(params, [_sample(1)])
    check.run(params, NullTracker(), "raw")
    assert read_findings(Path(), "tiny", "check_raw") is not None
    shutil.rmtree(params.data / "samples" / "annotation")
    with pytest.raises(DataError):
        check.run(params, NullTracker(), "raw")
    assert read_findings(Path(), "tiny", "check_raw") is None


def test_no_sample_at_all_fails_the_gate(params: Params) -> None:
    _write_samples(params, [])
    with pytest.raises(QualityError, match="yields nothing"):
        check.run(params, NullTracker(), "raw")


def test_too_many_rows_in_quarantine_fail_the_gate_and_are_named(params: Params) -> None:
    _write_samples(params, [_sample(n) for n in range(18)], rejects=2)
    with pytest.raises(QualityError, match="quarantine share") as caught:
        check.run(params, NullTracker(), "raw")
    assert "coco: empty (c.json, row 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"images": (), "turns": (Turn("human", "Describe."), Turn("assistant", "a circle"))}, False),
        ({"task": Task.CHANGE}, False),
        ({"task": Task.TEXT}, False),
    ],
)
def test_images_fit_the_task(changes: dict[str, Any], fits: bool) -> None:
    assert gates.raw_row(_sample(1, **changes).to_row(), "annotation")["images_fit_task"] is fits


def _pair(number: int, sample: int, split: str) -> RewritePair:
    return RewritePair(
        id=f"p{number}",
        sample_id=f"coco/train/{sample}",
        source="coco",
        split=split,
        task=Task.CAPTION,
        instruction="Describe.",
        images=(),
        drafted="circle",
        revised=f"A red circle, number {number}.",
        strategy="text_noise",
        command="",
        seed=1,
    )


def test_a_sample_on_both_sides_of_the_split_fails_the_gate(params: Params) -> None:
    pairs = [_pair(0, 0, "train"), _pair(1, 1, "train"), _pair(2, 1, "held_out"), _pair(3, 2, "held_out")]
    write_shards(params.data / "pairs", (pair.to_row() for pair in pairs))
    with pytest.raises(QualityError, match="held_out_apart") as caught:
        check.run(params, NullTracker(), "distorted")
    assert "p1" in str(caught.value)
    assert "p3" not in str(caught.value)


def test_a_lost_annotation_fails_the_gate_and_is_named(params: Params) -> None:
    _write_samples(params, [_sample(1), _sample(2)])
    write_shards(params.data / "rewrites", [_rewrite(1).to_row()])
    with pytest.raises(QualityError, match="annotations without a rewrite") as caught:
        check.run(params, NullTracker(), "rewritten")
    assert "coco/train/2" in str(caught.value)


def test_probes_beside_the_annotations_pass(params: Params) -> None:
    _write_samples(params, [_sample(1)])
    rewrites = [_rewrite(1), _rewrite(1, id="coco/train/1#probe", extras={"probe": "color"})]
    write_shards(params.data / "rewrites", (rewrite.to_row() for rewrite in rewrites))
    assert check.run(params, NullTracker(), "rewritten")["records"] == 2


def test_filters_that_keep_too_little_fail_the_gate_and_say_which(params: Params) -> None:
    _write_pf1m(params, [_rewrite(n) for n in range(2)], [_rewrite(n) for n in range(2, 10)])
    with pytest.raises(QualityError, match="kept share") as caught:
        check.run(params, NullTracker(), "pf1m")
    assert "8 records rejected by sts" in str(caught.value)


def _scored(number: int, sts: float) -> Rewrite:
    return _rewrite(number, scores={"sts": sts, "nli": None})


def test_a_source_of_which_too_little_is_kept_stops_and_names_the_rejects_nearest_the_threshold(params: Params) -> None:
    rejected = [replace(_scored(n, n / 100), id=f"gqa/train/{n}", source="gqa") for n in range(38)]
    kept = [_scored(n, 0.8) for n in range(60)] + [replace(_scored(99, 0.9), id="gqa/train/99", source="gqa")]
    _write_pf1m(params, kept, rejected)
    with pytest.raises(QualityError, match="failed 1 of") as caught:
        check.run(params, NullTracker(), "pf1m")
    text = str(caught.value)
    assert "gqa: 0.0256 of 39 records kept, outside 0.2 to 1.0; sts took most, 38" in text
    named = [line.split(":")[0].strip() for line in text.splitlines() if "threshold 0.4" in line]
    assert named == [f"gqa/train/{n}" for n in range(37, 27, -1)]
    assert "gqa/train/37: sts 0.37, threshold 0.4" in text


def test_a_source_of_which_too_much_is_kept_names_the_kept_records_nearest_the_threshold(params: Params) -> None:
    quality = params.quality.model_copy(
        update={"keep_range": params.quality.keep_range.model_copy(update={"per_source": {"coco": (0.2, 0.9)}})}
    )
    _write_pf1m(params, [_scored(n, 0.41 + n / 100) for n in range(30)], [_scored(30, 0.3)])
    with pytest.raises(QualityError, match="kept share of coco") as caught:
        check.run(params.model_copy(update={"quality": quality}), NullTracker(), "pf1m")
    assert "kept nearest to its threshold:\n        coco/train/0: sts 0.41, threshold 0.4" in str(caught.value)


def test_a_source_of_few_records_is_not_judged(params: Params) -> None:
    few = [replace(_scored(n, 0.1), id=f"gqa/train/{n}", source="gqa") for n in range(19)]
    _write_pf1m(params, [_scored(n, 0.8) for n in range(60)], few)
    assert check.run(params, NullTracker(), "pf1m")["passed"] is True
    report = read_json(params.reports / "checks" / "check_pf1m.json")
    assert "kept share of coco" in {finding["column"] for finding in report["findings"]}


@pytest.mark.parametrize("score", [0.2, math.nan])
def test_a_kept_record_below_its_threshold_fails_the_gate(params: Params, score: float) -> None:
    _write_pf1m(params, [_rewrite(1), _rewrite(2, scores={"sts": score, "nli": None})], [])
    with pytest.raises(QualityError, match="sts"):
        check.run(params, NullTracker(), "pf1m")


def test_the_nli_label_is_read_for_questions_only(params: Params) -> None:
    logits = [3.0, 0.0, 0.0]  # contradiction, entailment, neutral
    question = _rewrite(1, task=Task.VQA, scores={"nli": logits, "sts": 0.1})
    caption = _rewrite(2, scores={"nli": logits, "sts": 0.9})
    rows = [gates.pf1m_row(rewrite) for rewrite in (question, caption)]
    assert [row["nli"] for row in rows] == ["contradiction", None]
    assert [row["sts"] for row in rows] == [None, 0.9]
    assert json.loads(rows[0]["images"]) == ["coco/1.png"]


def test_an_annotation_in_quarantine_is_not_lost(params: Params) -> None:
    _write_samples(params, [_sample(1), _sample(2)])
    write_shards(params.data / "rewrites", [_rewrite(1).to_row()])
    row = {
        "source": "coco",
        "file": "samples/annotation",
        "row": "coco/train/2",
        "reason": "image is missing",
        "value": "",
    }
    write_jsonl(params.data / "rewrites" / "quarantine.jsonl", [row])
    assert check.run(params, NullTracker(), "rewritten")["records"] == 1


def _many(params: Params, words: int, **changes: Any) -> Params:
    """A run of 400 samples whose annotations have as many words; parameters with other settings of drift."""
    text = Turn("assistant", " ".join(["red"] * words))
    _write_samples(params, [_sample(n, turns=(Turn("human", "Describe.", (0,)), text)) for n in range(400)])
    drift = params.quality.drift.model_copy(update=changes)
    return params.model_copy(update={"quality": params.quality.model_copy(update={"drift": drift})})


def test_a_gate_says_when_there_is_no_accepted_run(params: Params) -> None:
    report = check.run(_many(params, 3), NullTracker(), "raw")
    (found,) = [finding for finding in report["findings"] if finding["drift"]]
    assert "nothing to compare with" in found["because"]
    assert check.run(_many(params, 3, action="off"), NullTracker(), "raw")["findings"] == report["findings"][:-1]


def test_data_that_drifted_warn_and_name_source_and_figure(params: Params, caplog: pytest.LogCaptureFixture) -> None:
    check.run(_many(params, 3), NullTracker(), "raw")
    path, records = baseline.accept("tiny", params.reports)
    assert (path, records) == (Path("configs/baselines/tiny.json"), {"raw": 400})
    assert not read_findings(Path(), "tiny", "check_raw")["warned"]  # type: ignore[index]
    report = check.run(_many(params, 4), NullTracker(), "raw")
    assert report["passed"] is True
    (warned,) = read_findings(Path(), "tiny", "check_raw")["warned"]  # type: ignore[index]
    assert (warned["column"], warned["severity"]) == ("answer words", "warning")
    (row,) = warned["rows"]
    assert row["id"] == "coco"
    assert row["note"].startswith("100.0% lie elsewhere, 18.3% may; at most 3: 100.0% of 400 records before, 0.0% of")
    assert "coco: 100.0% lie elsewhere" in caplog.text


def test_drift_stops_the_run_where_asked_and_goes_on_once_accepted(params: Params) -> None:
    check.run(_many(params, 3), NullTracker(), "raw")
    baseline.accept("tiny", params.reports)
    strict = _many(params, 4, action="fail")
    with pytest.raises(QualityError, match="answer words"):
        check.run(strict, NullTracker(), "raw")
    baseline.accept("tiny", params.reports)
    assert check.run(strict, NullTracker(), "raw")["passed"] is True


def test_what_fails_for_another_reason_cannot_be_accepted(params: Params) -> None:
    with pytest.raises(DataError, match="no gate has run"):
        baseline.accept("tiny", params.reports)
    _write_samples(params, [_sample(1, licence=" ")])
    with pytest.raises(QualityError):
        check.run(params, NullTracker(), "raw")
    with pytest.raises(DataError, match="not for drift alone") as caught:
        baseline.accept("tiny", params.reports)
    assert "licence" in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '{"raw": {"coco": {"words": {"at": [1], "share": [1], "records": 3}}}}'])
def test_a_torn_baseline_is_an_error_that_says_what_to_do(params: Params, text: str) -> None:
    write_atomic(Path("configs/baselines/tiny.json"), text)
    with pytest.raises(DataError, match="accept-baseline"):
        baseline.read_baseline("tiny", "raw")


def test_what_filters_do_and_scores_are_watched(params: Params) -> None:
    _write_pf1m(params, [_scored(n, 0.8) for n in range(3)], [_scored(4, 0.1)])
    spreads = check.run(params, NullTracker(), "pf1m")["spreads"]
    assert spreads["coco"]["fate"] == {"counts": {"kept": 3, "sts": 1}}
    assert spreads["coco"]["sts"] == {"records": 4, "at": [0.1, 0.8], "share": [0.0, 0.25, 1.0]}
    assert "reward" not in spreads["coco"]
