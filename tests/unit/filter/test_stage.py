"""The stages `distort`, `score` and `filter` on a handful of records in a fresh folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import with_columns

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.filter.decisions import fate_counts, read_decided, read_decision
from polite_flamingo.filter.paragraphs import without_cuts
from polite_flamingo.filter.table import write_table
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_json, write_jsonl
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn
from polite_flamingo.stages import distort, score
from polite_flamingo.stages import filter as filter_stage
from polite_flamingo.tracking.base import NullTracker

ROOT = Path(__file__).parents[3]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    none = loaded.backbones.model_copy(update=dict.fromkeys(("sts", "nli", "clip", "reward"), "none"))
    nli = loaded.filter.nli.model_copy(update={"reject": ["contradiction"]})  # not what the profile calibrated
    return loaded.model_copy(
        update={
            "backbones": none,
            "filter": loaded.filter.model_copy(update={"nli": nli}),
            "distort": loaded.distort.model_copy(update={"assignment": "all"}),
        }
    )


def vqa(number: int, text: str, nli: list[float], probe: str = "", raw: str = "red") -> Rewrite:
    extras: dict[str, Any] = {"probe": probe} if probe else {}
    scores = {"rouge_l": 0.3, "sts": 0.5, "nli": nli, "clip_logits": None, "reward": 2.0 + number, "reward_raw": -1.0}
    question = "What color is the object in the top left?"
    images = (Image("a.png"),)
    bare = Rewrite(f"vqa/train/{number}", "vqa", "train", "-", Task.VQA, question, images, raw, text, "stop", extras)
    return with_columns(bare, **scores)


GOOD, CONTRADICTION = [-1.0, 3.0, 0.0], [3.0, -1.0, 0.0]
RECORDS = [
    vqa(0, "The object in the top left is red.", GOOD),
    vqa(1, "The object in the top left is red, I think.", CONTRADICTION),  # clean, but dropped
    vqa(2, "The object in the top left is blue.", CONTRADICTION),  # corrupted, caught
    vqa(3, "The object in the top left is green.", GOOD),  # corrupted, missed
    vqa(4, "The object in the top left is yellow.", CONTRADICTION, probe="answer_changed"),
    vqa(5, "The object in the top left is purple.", CONTRADICTION, probe="answer_changed"),
]


def write_scored(params: Params, rewrites: list[Rewrite]) -> None:
    write_shards(params.data / "scored", [r.to_row() for r in rewrites])
    write_table(rewrites, params.data / "scored" / "table")


def write_world(params: Params) -> None:
    seen = {"color": "red", "shape": "circle", "size": "small", "position": "top left"}
    write_jsonl(params.image_root / "ground_truth.jsonl", [{"image": "a.png", "objects": [seen]}])


def test_filter_writes_kept_rejected_pf1m_and_its_report(params: Params) -> None:
    write_scored(params, RECORDS)
    report = filter_stage.run(params, NullTracker())
    kept = list(read_shards(params.data / "pf1m" / "kept"))
    rejected = list(read_shards(params.data / "pf1m" / "rejected"))
    assert [row["id"] for row in kept] == ["vqa/train/0", "vqa/train/3"]
    assert [row["id"] for row in rejected] == ["vqa/train/1", "vqa/train/2"]
    assert {*kept[0]} == {*rejected[0]} == {*RECORDS[0].to_row()} - {"scores"}
    records = [record for state in ("kept", "rejected") for record in read_decided(params.data / "pf1m", state)]
    assert [record for record, _ in records] == [without_cuts(RECORDS[index]) for index in (0, 3, 1, 2)]
    assert [row["reason"] for _, row in records] == [None, None, "nli: contradiction", "nli: contradiction"]
    assert records[2][1]["nli"] == {"score": 3.0, "threshold": ["contradiction"], "passed": False}
    assert [r["output"] for r in read_json(params.data / "pf1m" / "pf1m.json")] == [
        RECORDS[0].rewritten,
        RECORDS[3].rewritten,
    ]
    assert read_json(params.reports / "filter.json") == json.loads(json.dumps(report))
    assert report["records"] == 4
    assert report["kept"] == 2
    assert report["counts"]["nli"] == 2
    assert report["sources"] == {"vqa": {"records": 4, "kept": 2, "nli": 2}}
    assert report["reward"] == {"raw": -1.0, "rewritten": 3.5, "pooled_sd": 1.5, "records": 2}


def test_the_decision_table_has_every_filters_verdict_on_every_natural_record(params: Params) -> None:
    write_scored(params, [*RECORDS[:3], replace(RECORDS[3], finish_reason="length"), *RECORDS[4:]])
    filter_stage.run(params, NullTracker())
    rows = list(read_shards(params.data / "pf1m" / "decisions"))
    assert [(row["id"], row["kept"], row["failed"]) for row in rows] == [
        ("vqa/train/0", True, None),
        ("vqa/train/1", False, "nli"),
        ("vqa/train/2", False, "nli"),
        ("vqa/train/3", False, "unfinished"),
    ]
    assert rows[1]["nli"] == {"score": 3.0, "threshold": '["contradiction"]', "passed": False}
    assert rows[1]["repetition"] == {"score": 0.0, "threshold": "0.3", "passed": True}  # also after the first rejection
    assert rows[1]["sts"] == {"score": None, "threshold": "0.4", "passed": True}
    assert rows[1]["numbers_changed"]["threshold"] == "null"  # off
    found = read_decision(params.data / "pf1m" / "decisions", "vqa/train/1")
    assert found is not None and found["nli"]["threshold"] == ["contradiction"]
    assert fate_counts(params.data / "pf1m" / "decisions") == {"vqa": {"kept": 1, "nli": 2, "unfinished": 1}}


def test_no_record_at_all_gives_an_empty_decision_table(params: Params) -> None:
    write_scored(params, [])
    assert filter_stage.run(params, NullTracker())["records"] == 0
    assert fate_counts(params.data / "pf1m" / "decisions") == {}
    with pytest.raises(DataError, match="nothing has been filtered yet"):
        fate_counts(params.data / "elsewhere")


def test_a_near_duplicate_is_rejected_only_where_a_limit_is_set(params: Params) -> None:
    records = [RECORDS[0], replace(RECORDS[0], id="vqa/train/1")]
    write_scored(params, records)
    report = filter_stage.run(params, NullTracker())
    assert (report["kept"], report["sets"]["vqa"]["near_duplicates"]) == (2, 1)
    limit = params.filter.near_duplicates.model_copy(update={"max_similarity": 0.9})
    strict = params.model_copy(update={"filter": params.filter.model_copy(update={"near_duplicates": limit})})
    report = filter_stage.run(strict, NullTracker())
    assert (report["kept"], report["counts"]["near_duplicate"]) == (1, 1)
    ((record, row),) = read_decided(params.data / "pf1m", "rejected")
    assert record.id == "vqa/train/1" and row["reason"].startswith("near_duplicate")


def test_a_table_of_other_records_stops_the_stage(params: Params) -> None:
    write_scored(params, RECORDS)
    write_table(RECORDS[:2], params.data / "scored" / "table")
    with pytest.raises(DataError, match="score table and records differ"):
        filter_stage.run(params, NullTracker())


def test_probes_measure_the_filters_and_never_enter_the_data(params: Params) -> None:
    write_world(params)
    write_scored(params, RECORDS)
    report = filter_stage.run(params, NullTracker())
    ids = {row["id"] for part in ("kept", "rejected") for row in read_shards(params.data / "pf1m" / part)}
    assert ids == {f"vqa/train/{i}" for i in range(4)}
    assert (report["natural_corrupted"], report["probes"], report["judged"]) == (2, 2, 4)
    assert report["answer_preserved_before"] == 0.5
    assert report["answer_preserved_after"] == 0.5
    assert report["recall_of_corrupted"] == 0.75  # one natural of two, two probes of two
    assert report["recall_natural"] == 0.5
    assert report["clean_kept"] == 0.5
    assert report["corruptions"]["answer_changed"] == {"records": 2, "recalled": 2}


def test_a_hallucinated_paragraph_that_is_cut_counts_as_caught(params: Params) -> None:
    write_world(params)
    scores = {"rouge_l": 0.3, "sts": 0.9, "clip_logits": [99.0, -99.0]}
    text = "The image shows a red circle.\n\nIn addition, there is a blue star in the back."
    record = Rewrite(
        "coco/train/1", "coco", "train", "-", Task.CAPTION, "Describe.", (Image("a.png"),), "a red circle", text,
        "stop",
    )  # fmt: skip
    write_scored(params, [with_columns(record, **scores)])
    report = filter_stage.run(params, NullTracker())
    ((kept, row),) = read_decided(params.data / "pf1m", "kept")
    assert kept.rewritten == "The image shows a red circle."
    assert row["cut"] == ((-99.0, "In addition, there is a blue star in the back."),)
    assert report["recall_of_corrupted"] == 1.0
    assert report["edited"] == report["cut_paragraphs"] == 1


def test_without_ground_truth_nothing_is_claimed(params: Params) -> None:
    write_scored(params, RECORDS)
    report = filter_stage.run(params, NullTracker())
    for name in ("answer_preserved_before", "recall_of_corrupted", "clean_kept", "recall_natural"):
        assert report[name] is None


def test_filtering_twice_gives_the_same_bytes(params: Params) -> None:
    write_scored(params, RECORDS)

    def contents() -> dict[str, bytes]:
        filter_stage.run(params, NullTracker())
        files = [*(params.data / "pf1m").rglob("*"), params.reports / "filter.json"]
        return {str(f): f.read_bytes() for f in files if f.is_file()}

    assert contents() == contents()


def test_a_threshold_that_keeps_the_same_records_leaves_them_as_they_are(params: Params) -> None:
    """Trainings read the kept records alone: they are not done anew for it."""

    def kept(settings: FilterSettings) -> dict[str, bytes]:
        filter_stage.run(params.model_copy(update={"filter": settings}), NullTracker())
        return {f.name: f.read_bytes() for f in (params.data / "pf1m" / "kept").iterdir()}

    write_scored(params, RECORDS)
    before = kept(params.filter)
    table = (params.data / "pf1m" / "decisions" / "part-000000.parquet").read_bytes()
    assert kept(params.filter.changed({"change.max_rouge_l": 0.9, "length.max_words": 399})) == before
    assert (params.data / "pf1m" / "decisions" / "part-000000.parquet").read_bytes() != table
    assert kept(params.filter.changed({"nli.reject": []})) != before


def test_records_beside_decisions_on_others_are_refused(params: Params) -> None:
    write_scored(params, RECORDS)
    filter_stage.run(params, NullTracker())
    rows = list(read_shards(params.data / "pf1m" / "kept"))
    write_shards(params.data / "pf1m" / "kept", rows[1:])
    with pytest.raises(DataError, match="records and decisions differ"):
        list(read_decided(params.data / "pf1m", "kept"))


def test_score_fills_what_it_has_models_for_and_says_what_is_absent(params: Params) -> None:
    bare = [Rewrite.from_row({**r.to_row(), "scores": "{}"}) for r in RECORDS]
    write_shards(params.data / "rewrites", [r.to_row() for r in bare])
    report = score.run(params, NullTracker())
    rows = [Rewrite.from_row(row) for row in read_shards(params.data / "scored")]
    assert [r.id for r in rows] == [r.id for r in bare]
    assert rows[0].scores["rouge_l"] > 0
    assert {r.scores["sts"] for r in rows} == {None}
    assert report["absent"] == ["clip", "nli", "reward", "sts"]
    assert (report["records"], report["probes"]) == (4, 2)
    assert report["columns"]["rouge_l"]["count"] == 4


def test_score_without_rewrites_says_what_to_run(params: Params) -> None:
    (params.data / "rewrites").mkdir(parents=True)
    with pytest.raises(DataError, match="rewrite"):
        score.run(params, NullTracker())


def test_distort_writes_pairs_and_counts_what_it_left_out(params: Params) -> None:
    turns = (Turn("human", "What is it?"), Turn("assistant", "It is a small brown dog. I hope this helps!"))
    samples = [Sample(f"chat/train/{i}", "chat", "train", "-", Task.TEXT, turns) for i in range(40)]
    write_shards(params.data / "samples" / "instruction", [s.to_row() for s in samples])
    report = distort.run(params, NullTracker())
    pairs = [RewritePair.from_row(row) for row in read_shards(params.data / "pairs")]
    assert report["pairs"] == len(pairs) == report["train"] + report["held_out"]
    assert report["responses"] == 40
    assert all(p.drafted and p.drafted != p.revised for p in pairs)
    noise = report["strategies"]["text_noise"]
    assert noise["planned"] == 40 == noise["made"] + noise["skipped_empty_or_unchanged"]
    assert noise["skipped_empty_or_unchanged"] > 0  # one text in sixteen stays as it was
    assert report["strategies"]["retrieve_boxes"]["planned"] == 0


def test_distort_without_samples_says_what_to_run(params: Params) -> None:
    (params.data / "samples" / "instruction").mkdir(parents=True)
    with pytest.raises(DataError, match="download"):
        distort.run(params, NullTracker())
