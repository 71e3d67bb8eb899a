"""What tells a run from the last commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from polite_flamingo.launch.changes import changed_values, commit_of
from polite_flamingo.launch.pipeline_file import predecessors, read_stages

PROJECT = Path(__file__).resolve().parents[3]


def git(folder: Path, *words: str) -> str:
    words = ("-c", "user.name=a", "-c", "user.email=a@b", *words)
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_values_that_differ_from_the_last_commit_are_named(tmp_path: Path) -> None:
    profile = tmp_path / "configs" / "profiles" / "tiny.yaml"
    profile.parent.mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("filter:\n  sts: {min_cosine: 0.4}\nseed: 42\n")
    profile.write_text("overrides:\n  tune: {stage1: {epochs: 2}}\n")
    assert (changed_values(tmp_path, "tiny"), commit_of(tmp_path)) == ({}, "")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "all")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert (changed_values(tmp_path, "tiny"), commit_of(tmp_path)) == ({}, commit)
    (tmp_path / "params.yaml").write_text("filter:\n  sts: {min_cosine: 0.45}\n")
    profile.write_text("overrides:\n  tune: {stage1: {epochs: 3}}\n")
    assert changed_values(tmp_path, "tiny") == {"filter.sts.min_cosine": 0.45, "seed": None, "tune.stage1.epochs": 3}
    assert commit_of(tmp_path) == f"{commit}+"


def test_stages_wait_for_those_whose_outputs_they_read() -> None:
    before = predecessors(read_stages(PROJECT / "dvc.yaml"))
    assert before["download"] == set()
    assert "tune_stage1" in before["tune_stage2"]
    assert "check_pf1m" in before["tune_raw"]
    assert before["tune_raw"].isdisjoint({"tune_stage1", "tune_stage2", "tune_stage3"})
    assert {"train_rewriter", "filter", "evaluate"} <= before["summary"]
