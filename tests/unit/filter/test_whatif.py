"""`polite-flamingo whatif`: two decisions on the same table, compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import with_columns

from polite_flamingo.cli import main
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.filter.table import write_table
from polite_flamingo.filter.whatif import render, whatif
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Image, Rewrite, Task

ROOT = Path(__file__).parents[3]


def caption(source: str, number: int, sts: float, probe: str = "") -> Rewrite:
    extras: dict[str, Any] = {"probe": probe} if probe else {}
    text = f"This picture number {number} of {source} shows a red circle."
    bare = Rewrite(
        f"{source}/train/{number}", source, "train", "-", Task.CAPTION, "Describe.", (Image("a.png"),), "raw", text,
        "stop", extras,
    )  # fmt: skip
    return with_columns(bare, rouge_l=0.3, sts=sts)


RECORDS = [caption("a", i, i / 10) for i in range(10)] + [caption("b", i, 0.45) for i in range(4)]
RECORDS.append(caption("a", 99, 0.45, probe="object_swapped"))


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "tiny" / "scored"
    write_shards(folder, [r.to_row() for r in RECORDS])
    write_table(RECORDS, folder / "table")
    return folder


def test_kept_and_rejected_are_counted_per_source_before_and_after(scored: Path) -> None:
    report = whatif(scored, FilterSettings(), FilterSettings().changed({"sts.min_cosine": 0.5}))
    assert report["thresholds"] == {"sts.min_cosine": [0.4, 0.5]}
    assert report["sources"]["a"] == {
        "records": 10, "before": {"kept": 6, "sts": 4}, "after": {"kept": 5, "sts": 5}, "gained": 0, "lost": 1,
    }  # fmt: skip
    assert report["sources"]["b"]["after"] == {"kept": 0, "sts": 4}
    assert (report["all"]["records"], report["all"]["lost"]) == (14, 5)
    assert report["examples"] == {"gained": [], "lost": []}


def test_examples_come_from_all_sources_in_turn_with_their_texts(scored: Path) -> None:
    found = whatif(
        scored,
        FilterSettings().changed({"sts.min_cosine": 0.5}),
        FilterSettings().changed({"sts.min_cosine": 0.4}),
        examples=2,
    )["examples"]
    assert [one["id"] for one in found["gained"]] == ["a/train/4", "b/train/0"]
    assert found["lost"] == []
    assert found["gained"][0] == {
        "id": "a/train/4", "by": "sts", "score": 0.4, "asked": "Describe.", "raw": "raw",
        "rewritten": "This picture number 4 of a shows a red circle.",
    }  # fmt: skip


def test_limits_on_whole_sources_can_be_tried_too(scored: Path) -> None:
    report = whatif(scored, FilterSettings(), FilterSettings().changed({"template.max_share": 0.5}), examples=9)
    assert report["sources"]["a"]["after"] == {"kept": 3, "sts": 4, "template": 3}
    assert [one["score"] for one in report["examples"]["lost"]] == [1.0] * 5


def test_the_verb_prints_a_table_and_json(
    scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scored.parents[2])
    arguments = ["whatif", "--params", str(ROOT / "params.yaml"), "--profile", "tiny"]
    assert main([*arguments, "--set", "filter.sts.min_cosine=0.5", "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "min_cosine: 0.4 -> 0.5" in shown
    assert "LOST  a/train/4  (sts: 0.4)" in shown
    assert main([*arguments, "--set", "filter.sts.min_cosine=0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["lost"] == 5


def test_nothing_changed_is_said(scored: Path) -> None:
    assert "(nothing is changed)" in render(whatif(scored, FilterSettings(), FilterSettings()), "tiny")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("filter.sts.min_cosin=0.5", "filter.sts.min_cosin: no such parameter (did you mean 'min_cosine'?"),
        ("filter.stss.min_cosine=0.5", "did you mean 'sts'?"),
        ("filter.sts.min_cosine=much", "filter.sts.min_cosine: Input should be a valid number"),
        ("filter.sts=0.5", "filter.sts"),
        ("filter.sts.min_cosine", "write filter.key=value"),
        ("seed=1", "write filter.key=value"),
        ("filter.nli.reject=[contradiction, maybe]", "filter.nli.reject"),
        ("filter.sts.min_cosine=[", "not valid YAML"),
    ],
)
def test_a_change_that_makes_no_sense_is_explained(
    assignment: str, message: str, scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scored.parents[2])
    arguments = ["whatif", "--params", str(ROOT / "params.yaml"), "--profile", "tiny", "--set", assignment]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_trying_thresholds_imports_no_torch(scored: Path) -> None:
    code = (
        "import sys; from polite_flamingo.cli import main; "
        f"main(['whatif', '--params', {str(ROOT / 'params.yaml')!r}, '--profile', 'tiny', '--examples', '1',"
        " '--set', 'filter.near_duplicates.max_similarity=0.9']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'sentence_transformers')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=scored.parents[2], env={"PYTHONPATH": str(ROOT / "src")}
    )
    assert done.returncode == 0
