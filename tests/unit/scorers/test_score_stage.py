"""Stage ``score``: every column, journals that survive, records that cannot be scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import decide_records

from polite_flamingo.errors import ModelError, QualityError
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.backend import SCORES, ScorerBackend
from polite_flamingo.scorers.base import ScoreQuestion
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.load import Recipe
from polite_flamingo.stages import score
from polite_flamingo.tracking.base import NullTracker

PROJECT = Path(__file__).resolve().parents[3]


def record(number: int, text: str, task: Task = Task.CAPTION, image: str = "red.png") -> Rewrite:
    return Rewrite(
        f"s/{number}", "s", "train", "-", task, "What is it?", (Image(image),), "a red circle", text, "stop"
    )  # fmt: skip


RECORDS = (
    record(0, "A red circle.\n\nA blue star.\n\nThe image shows a square."),
    record(1, "The circle is red.", Task.VQA),
    record(2, "A green star.", image="green.png"),
    record(3, "", Task.TEXT),
    record(4, "Красный круг " * 30, Task.VQA, image="blue.png"),
)


@pytest.fixture
def params(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sts_folder: Path,
    nli_folder: Path,
    clip_folder: Path,
    reward_folder: Path,
    image_root: Path,
) -> Params:
    monkeypatch.chdir(tmp_path)
    loaded = load_params(PROJECT / "params.yaml", "tiny")
    for name, folder in (("sts", sts_folder), ("nli", nli_folder), ("clip", clip_folder), ("reward", reward_folder)):
        shutil.copytree(folder, loaded.models / "backbones" / name)
    shutil.copytree(image_root, loaded.image_root)
    give(loaded, RECORDS)
    return loaded


def give(params: Params, records: Sequence[Rewrite]) -> None:
    write_shards(params.data / "rewrites", (r.to_row() for r in records))


def scored(params: Params) -> list[Rewrite]:
    return [Rewrite.from_row(row) for row in read_shards(params.data / "scored")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Scorers that were asked, and about how many records."""
    calls: list[tuple[str, int]] = []
    load = Recipe.load

    def counting(self: Recipe) -> Any:
        scorer = load(self)

        class Counting:
            def answer(counting, asked: Sequence[ScoreQuestion]) -> list[Any]:
                calls.append((self.name, len(asked)))
                return scorer.answer(asked)

        return Counting()

    monkeypatch.setattr(Recipe, "load", counting)
    yield calls


def test_every_record_has_every_column(params: Params) -> None:
    report = score.run(params, NullTracker())
    found = scored(params)
    assert [r.id for r in found] == [r.id for r in RECORDS]
    assert all(list(r.scores) == sorted(COLUMNS) for r in found)
    caption, vqa, _, empty, _ = (r.scores for r in found)
    assert len(caption["clip_logits"]) == len(caption["sts_by_cut"]) == len(caption["boxes_by_cut"]) == 3
    assert caption["sts_by_cut"][0] == caption["sts"]
    assert vqa["clip_logits"] is None and len(vqa["nli"]) == 3
    assert empty["words"] == 0 and empty["sts"] is not None
    assert report["records"] == 5 and report["quarantined"] == 0


def test_the_similarity_by_number_cut_is_that_of_the_edited_text(params: Params) -> None:
    score.run(params, NullTracker())
    first = scored(params)[0]
    middle = sorted(first.scores["clip_logits"])[1]
    wide = FilterSettings().changed({"length.min_words": 0, "sts.min_cosine": -1, "change.max_rouge_l": 1.0})
    (decision,) = decide_records([first], wide.changed({"paragraphs.min_clip_logit": middle}))
    assert decision.kept and len(decision.cut) == 1
    give(params, [record(0, decision.text)])
    score.run(params, NullTracker())
    again = scored(params)[0].scores
    assert decision.rewrite.scores["sts"] == again["sts"] == first.scores["sts_by_cut"][1]


def test_a_second_run_asks_no_model_and_writes_the_same(params: Params, asked: list[tuple[str, int]]) -> None:
    score.run(params, NullTracker())
    once = scored(params)
    asked.clear()
    score.run(params, NullTracker())
    assert asked == []
    assert scored(params) == once


def test_only_the_column_of_a_changed_model_is_computed_again(params: Params, asked: list[tuple[str, int]]) -> None:
    score.run(params, NullTracker())
    before = scored(params)
    asked.clear()
    config = params.models / "backbones" / "nli" / "config.json"
    values = json.loads(config.read_text())
    values["id2label"] = {"0": "neutral", "1": "entailment", "2": "contradiction"}
    config.write_text(json.dumps(values))
    score.run(params, NullTracker())
    assert asked == [("nli", 2)]
    after = scored(params)
    assert after[1].scores["nli"] != before[1].scores["nli"]
    assert [{**r.scores, "nli": None} for r in after] == [{**r.scores, "nli": None} for r in before]


def test_only_changed_records_are_scored_again(params: Params, asked: list[tuple[str, int]]) -> None:
    score.run(params, NullTracker())
    asked.clear()
    give(params, [*RECORDS[:2], record(2, "A blue star.", image="green.png"), *RECORDS[3:]])
    score.run(params, NullTracker())
    assert sorted(asked) == [("clip", 1), ("reward", 1), ("sts", 1)]


def test_a_broken_image_puts_its_record_into_quarantine(params: Params) -> None:
    many = [record(i, "A red circle.") for i in range(40)]
    give(params, [*many, record(40, "A star.", image="broken.png")])
    assert score.run(params, NullTracker())["quarantined"] == 1
    (row,) = read_jsonl(params.data / "scored" / "quarantine.jsonl")
    assert row["row"] == "s/40" and "broken.png" in row["reason"]
    assert [r.id for r in scored(params)] == [r.id for r in many]


def test_a_score_that_is_no_number_is_never_written(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def answer(self, asked: Sequence[ScoreQuestion]) -> list[float]:
            return [float("nan") if "star" in question.texts[1] else 1.0 for question in asked]

    load = Recipe.load
    monkeypatch.setattr(Recipe, "load", lambda self: Broken() if self.name == "reward" else load(self))
    with pytest.raises(QualityError, match="could not be scored"):
        score.run(params, NullTracker())
    rows = list(read_jsonl(params.data / "scored" / "quarantine.jsonl"))
    assert [row["row"] for row in rows] == ["s/0", "s/2"]
    assert "finite" in rows[0]["reason"]
    assert {r.id for r in scored(params)} == {"s/1", "s/3", "s/4"}


def test_a_model_that_gives_no_numbers_at_all_ends_the_run(tmp_path: Path) -> None:
    class Broken:
        def answer(self, asked: Sequence[ScoreQuestion]) -> list[float]:
            return [float("inf")] * len(asked)

    executor = LocalExecutor(ScorerBackend(Broken, "broken"), call_size=2)
    questions = (ScoreQuestion(str(i), ("a", "b")) for i in range(20))
    with pytest.raises(ModelError, match="answered none"):
        run(Job(SCORES, tmp_path / "journal", tmp_path), questions, executor)


def test_an_absent_scorer_leaves_its_columns_empty(params: Params) -> None:
    backbones = params.backbones.model_copy(update={"clip": "none", "reward": "none"})
    report = score.run(params.model_copy(update={"backbones": backbones}), NullTracker())
    assert report["absent"] == ["clip", "reward"]
    assert all(r.scores[name] is None for r in scored(params) for name in ("clip_logits", "reward", "sts_by_cut"))
