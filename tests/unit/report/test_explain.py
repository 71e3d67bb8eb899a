"""`explain` tells a record's whole life."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.explain import explain
from polite_flamingo.io import write_jsonl, write_shards
from polite_flamingo.params import Params, load_params
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn

PROJECT = Path(__file__).resolve().parents[3]
VERDICTS = {"length": [7, [3, 400], True], "sts": [0.21, 0.4, False], "nli": [None, ["contradiction"], True]}


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
    scored = rewrite.with_scores(sts=0.21, nli=None, clip_logits=[20.0, 12.0])
    write_shards(loaded.data / "rewrites", [rewrite.to_row()])
    write_shards(loaded.data / "scored", [scored.to_row()])
    decision = {"reason": "sts: 0.21, below 0.4", "verdicts": json.dumps(VERDICTS), "cut": '[[12.0, "And a cat."]]'}
    write_shards(loaded.data / "pf1m" / "rejected", [{**scored.to_row(), **decision}])
    write_shards(loaded.data / "pf1m" / "kept", [])
    return loaded


@pytest.mark.parametrize(
    "part",
    [
        "CC BY 4.0",
        "a red circle",
        "data/tiny/raw/coco/1.png",
        "There is a red circle.",
        "finish reason  stop",
        "clip_logits    [20.0000, 12.0000]",
        "FAILED  sts                0.2100  0.4",
        "passed  nli            does not apply",
        "cut (CLIP 12.0000): And a cat.",
        "REJECTED  sts: 0.21, below 0.4",
    ],
)
def test_a_rejected_records_life_is_told(params: Params, part: str) -> None:
    assert part in explain(params, "coco/train/17")


def test_the_pairs_made_of_a_sample_are_shown(params: Params) -> None:
    told = explain(params, "train/18")
    assert "PAIR coco/train/18#0 (llm_rewrite, train, seed 5)" in told
    assert "Be brief." in told


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
