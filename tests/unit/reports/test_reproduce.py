"""A run beside the committed one: tolerances, claims, bits, and what there is nothing to compare with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.cli import main
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import write_json
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.reports import reproduce, summary
from polite_flamingo.reports.reproduce import CLAIMS, TOLERANCES, Claim, compare, render

PROJECT = Path(__file__).resolve().parents[3]
U = {"raw": (0.19, -2.2), "stage1": (0.66, 1.0), "stage2": (0.72, 1.07), "stage3": (0.76, 1.1)}


def _reports(**changes: float) -> dict[str, Any]:
    def figure(value: float, half: float) -> dict[str, float]:
        return {"value": value, "low": value - half, "high": value + half}

    models = {
        name: {
            "qa_in_domain": figure(accuracy, 0.04),
            "reward": figure(changes.get(f"{name}_reward", reward), 0.05),
            **({"qa_in_domain_without_image": figure(0.24, 0.04)} if name == "stage3" else {}),
        }
        for name, (accuracy, reward) in U.items()
    }
    order = list(U)
    half, wins = [[0.5] * 4] * 4, [[0.5] * 4] + [[0.9] * 4] * 3
    filtered = {
        "kept": changes.get("kept", 861), "kept_share": 0.861, "recall_of_corrupted": 0.88, "clean_kept": 0.9,
        "answer_preserved_before": 0.94, "answer_preserved_after": 0.99,
        "reward": {"raw": -2.4, "rewritten": 0.86, "pooled_sd": 0.36},
    }  # fmt: skip
    win_rate = {"order": order, "matrix": wins, "low": wins, "high": half}
    return {
        "train_rewriter": {"rouge_l_gain": 0.27},
        "filter": filtered,
        "evaluate": {"models": models, "win_rate": win_rate},
    }


def _lock(rewriter: str) -> str:
    outs = {"distort": ("data/tiny/pairs", "aa"), "train_rewriter": ("models/tiny/rewriter", rewriter)}
    lines = [f"  {name}@tiny:\n    outs:\n    - path: {path}\n      md5: {md5}" for name, (path, md5) in outs.items()]
    return "\n".join(["schema: '2.0'", "stages:", *lines, ""])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose committed run lies in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "configs"):
        (tmp_path / name).symlink_to(PROJECT / name)
    _ran(tmp_path, **{})
    write_json(tmp_path / "reports" / "tiny" / "summary.json", summary.summarise(_reports()))
    (tmp_path / "dvc.lock").write_text(_lock("bb"))
    for words in (["init", "-q"], ["add", "dvc.lock", "reports/tiny/summary.json"], ["commit", "-qm", "a run"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)
    return tmp_path


def _ran(project: Path, **changes: float) -> None:
    for name, report in _reports(**changes).items():
        write_json(project / "reports" / "tiny" / f"{name}.json", report)


@pytest.fixture
def params(project: Path) -> Params:
    return load_params(project / "params.yaml", "tiny")


def test_the_same_run_is_reproduced_bit_by_bit(params: Params) -> None:
    comparison = compare(params)
    assert comparison.holds
    assert comparison.outputs == {"equal": 2, "different": 0, "first": None}
    assert "holds in neither" not in render(comparison)


def test_a_figure_within_its_tolerance_holds_and_one_outside_does_not(params: Params, project: Path) -> None:
    _ran(project, kept=855)
    assert compare(params).holds
    _ran(project, kept=800)
    comparison = compare(params)
    assert [figure["figure"] for figure in comparison.figures if not figure["holds"]] == ["pf1m.kept"]
    assert "-61         23  outside" in render(comparison)


def test_a_claim_of_the_committed_run_that_fails_here_is_told(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    _ran(project, stage3_reward=1.06)  # no rise in stage 3, but within its spread
    comparison = compare(params)
    assert all(figure["holds"] for figure in comparison.figures)
    assert not comparison.holds
    assert "does not hold     stage 3 is politer" in render(comparison)
    assert main(["reproduce", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["holds"] is False


def test_a_claim_that_was_not_committed_either_is_not_held_against_this_machine(project: Path, params: Params) -> None:
    _ran(project, stage3_reward=1.06)
    write_json(project / "committed.json", summary.summarise(_reports(stage3_reward=1.06)))
    comparison = compare(params, "committed.json")
    assert comparison.holds
    assert comparison.outputs is None
    assert "holds in neither  stage 3 is politer" in render(comparison)


def test_other_bits_are_counted_and_the_first_stage_is_named(project: Path, params: Params) -> None:
    (project / "dvc.lock").write_text(_lock("cc"))
    comparison = compare(params)
    assert comparison.outputs == {"equal": 1, "different": 1, "first": "train_rewriter"}
    assert comparison.holds


def test_a_clone_in_which_nothing_ran_reproduces_nothing(project: Path, params: Params) -> None:
    for path in (project / "reports" / "tiny").glob("*.json"):
        if path.name != summary.FILE:
            path.unlink()
    with pytest.raises(DataError, match="nothing has run here"):
        compare(params)


def test_a_stage_that_did_not_run_here_is_missing(project: Path, params: Params) -> None:
    (project / "reports" / "tiny" / "evaluate.json").unlink()
    comparison = compare(params)
    assert "stage3.reward" in comparison.missing
    assert not comparison.holds


@pytest.mark.parametrize(("against", "message"), [("v9", "no figures are committed"), ("odd.json", "no figures")])
def test_what_is_no_committed_run_is_an_error(project: Path, params: Params, against: str, message: str) -> None:
    (project / "odd.json").write_text('{"pf1m": [1]}')
    with pytest.raises(DataError, match=message):
        compare(params, against)


def test_every_figure_has_a_tolerance_and_claims_name_figures() -> None:
    named = {name for claim in CLAIMS for name in (claim.larger, claim.smaller, claim.unit) if isinstance(name, str)}
    figures = set(reproduce._flat(summary.summarise(_reports())))
    assert named <= figures
    assert {name for name in figures if not name.endswith(("_low", "_high"))} <= set(TOLERANCES)


def test_a_claim_counts_in_its_unit() -> None:
    claim = Claim("far apart", "a", "b", 2.0, "unit")
    assert [claim.holds({"a": a, "b": 0.0, "unit": 1.0}) for a in (2.1, 1.9)] == [True, False]
    assert claim.holds({"a": 1.0, "b": 0.0}) is None
