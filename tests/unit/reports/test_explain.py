"""`explain` tells a record's whole life."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.filter.scoring import decide, with_columns, write_decided

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import FilterResult, FilterSettings
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_jsonl
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn
from polite_flamingo.reports.explain import explain

PROJECT = Path(__file__).resolve().parents[3]
SETS = {"near_duplicate": FilterResult(0.0, None, True), "template": FilterResult(0.5, None, True)}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(PROJECT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    samples = [
        Sample(
            id=f"coco/train/{number}",
            source="coco",
            split="train",
            licence="CC BY 4.0",
            task=Task.CAPTION,
            turns=(Turn("human", "Describe.", (0,)), Turn("assistant", "a red circle\na dot")),
            images=(Image("coco/1.png"),),
            extras={"captions": ["a red circle"]},
        )
        for number in (17, 170, 18)
    ]
    write_shards(loaded.data / "samples" / "annotation", (sample.to_row() for sample in samples))
    rejected = {
        "source": "coco",
        "file": "coco/broken.png",
        "row": "coco/train/9",
        "reason": "cannot be decoded",
        "value": "",
    }
    write_jsonl(loaded.data / "samples" / "quarantine.jsonl", [rejected])
    pair = RewritePair(
        "coco/train/18#0", "coco/train/18", "coco", "train", Task.CAPTION, "Describe.", (), "dot", "A dot.",
        "llm_rewrite", "Be brief.", 5,
    )  # fmt: skip
    write_shards(loaded.data / "pairs", [pair.to_row()])
    first = samples[0]
    rewrite = Rewrite(
        first.id, "coco", "train", first.licence, first.task, "Describe.", first.images, first.response,
        "There is a red circle.\n\nAnd a cat.", "stop",
    )  # fmt: skip
    scored = with_columns(rewrite, rouge_l=0.97, sts=0.21, sts_by_cut=[0.21, 0.25], clip_logits=[20.0, 12.0])
    probe = with_columns(
        replace(rewrite, id="vqa/1!probe", task=Task.VQA, extras={"probe": "answer_changed"}), nli=[4.0, -3.0, 0.5]
    )
    write_shards(loaded.data / "rewrites", [rewrite.to_row(), replace(probe, scores={}).to_row()])
    write_shards(loaded.data / "scored", [scored.to_row(), probe.to_row()])
    kept = with_columns(replace(rewrite, id="coco/train/18"), rouge_l=0.3, sts=0.7, clip_logits=[20.0, 12.0])
    decisions = [(r, decide(r, FilterSettings())) for r in (scored, kept)]
    results = [(r, replace(d, verdicts={**d.verdicts, **SETS})) for r, d in decisions]
    write_decided(loaded.data / "pf1m", results)
    return loaded


def test_a_rejected_records_life_is_told(params: Params) -> None:
    life = explain(params, "coco/train/17")
    for part in (
        "CC BY 4.0",
        "a red circle",
        "data/tiny/raw/coco/1.png",
        "There is a red circle.",
        "finish reason  stop",
        "clip_logits          [20.0000, 12.0000]",
        "sts                  0.2100  (without the lowest paragraph: 0.2500)",
        "passed     length                     8  3 to 400",
        "FAILED     change                0.9700  at most 0.95",
        "failed too sts                   0.2500  at least 0.4",
        "cuts 1     paragraphs                12  at least 17.0",
        "-          nli                           does not apply",
        "passed     unfinished                    the model ended the text",
        "off        template              0.5000  off",
        "cut (CLIP 12.0000): And a cat.",
        "REJECTED  change: Rouge-L 0.9700 above 0.95",
    ):
        assert part in life, part


def test_a_score_that_does_not_apply_is_left_out(params: Params) -> None:
    assert "reward_raw" not in explain(params, "coco/train/17")


def test_a_learned_filter_tells_what_each_feature_adds(params: Params) -> None:
    changed = params.model_copy(update={"filter": params.filter.changed({"learned.model": "laptop"})})
    life = explain(changed, "coco/train/17")
    assert "RISK" in life and "  sts_caption  " in life and "intercept" in life
    assert "RISK" not in explain(params, "coco/train/17")


def test_a_kept_record_is_told_with_its_final_text(params: Params) -> None:
    told = explain(params, "coco/train/18")
    assert "FAILED" not in told and told.endswith("KEPT in PF-1M\n  final          There is a red circle.")


def test_an_injected_corruption_says_what_it_is_for(params: Params) -> None:
    told = explain(params, "vqa/1!probe")
    assert "contradiction 4.0000, entailment -3.0000, neutral 0.5000" in told
    assert "INJECTED to measure the filters (answer_changed)" in told


def test_the_pairs_made_of_a_sample_are_shown(params: Params) -> None:
    told = explain(params, "train/18")
    assert "PAIR coco/train/18#0 (llm_rewrite, train, seed 5)" in told
    assert "Be brief." in told


def test_a_damaged_shard_is_named(params: Params) -> None:
    (params.data / "pairs" / "part-000000.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match="shard cannot be read"):
        explain(params, "train/18")


def test_a_quarantined_row_says_why(params: Params) -> None:
    assert "cannot be decoded" in explain(params, "coco/train/9")


def test_an_ambiguous_part_lists_the_candidates(params: Params) -> None:
    with pytest.raises(DataError, match="2 records match") as caught:
        explain(params, "/17")
    assert "coco/train/17, coco/train/170" in str(caught.value)


def test_a_whole_id_wins_over_longer_ones(params: Params) -> None:
    assert explain(params, "coco/train/17").startswith("coco/train/17\n")


def test_an_unknown_id_suggests_near_ones(params: Params) -> None:
    with pytest.raises(DataError, match="no such record") as caught:
        explain(params, "coco/trian/18")
    assert "coco/train/18" in str(caught.value)
