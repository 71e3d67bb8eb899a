"""What is recorded of a stage: the stages it stands for, what makes its run different, answers side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.pretence import PROJECT, STAGES

from polite_flamingo.io.shards import write_shards
from polite_flamingo.params.changes import changed
from polite_flamingo.params.reading import load_params
from polite_flamingo.recording import ancestors, answers, differences


def test_a_stage_stands_for_what_it_depends_on_and_for_nothing_else() -> None:
    upstream = ancestors("filter", STAGES)
    assert upstream[-1] == "filter"
    assert {"download", "train_rewriter", "score", "check_rewritten"} <= set(upstream)
    assert not {"check_pf1m", "tune_stage1", "evaluate"} & set(upstream)
    assert {"filter", "tune_raw", "evaluate"} <= set(ancestors("summary", STAGES))
    assert ancestors("filter", {}) == ("filter",)


def test_only_what_differs_from_the_profile_makes_a_run_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    params = load_params(profile="tiny")
    assert differences(params) == {}
    other = {"filter.sts.min_cosine": 0.45, "limits.annotation": 500, "runtime.threads": 7}
    found = differences(changed(params, other))
    assert found == {"filter.sts.min_cosine": 0.45, "limits.annotation": 500}


def test_answers_stand_side_by_side(tmp_path: Path) -> None:
    for model, said in (("raw", "Yes"), ("stage3", "Yes, it is.")):
        row = {"id": "b", "task": "vqa", "instruction": "Is it?", "raw_answer": "yes", "rewritten": said}
        write_shards(tmp_path / model, [row, {**row, "id": "a"}])
    rows = answers(tmp_path, ["raw", "stage1", "stage3"])
    assert [row["id"] for row in rows] == ["a", "b"]
    assert list(rows[0].items())[1:] == [
        ("stage3", "Yes, it is."),
        ("raw", "Yes"),
        ("annotation", "yes"),
        ("question", "Is it?"),
        ("task", "vqa"),
    ]
