"""The verb `ablations`: what it shows, writes and says when something fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.ablations import run as module
from polite_flamingo.ablations.experiments import Experiment, experiments
from polite_flamingo.ablations.page import MARK
from polite_flamingo.ablations.results import METRICS
from polite_flamingo.ablations.variants import select_variants
from polite_flamingo.cli import USER_ERROR, main
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params

ROOT = Path(__file__).resolve().parents[3]
MARKS = f"<!-- begin {MARK} -->\n<!-- end {MARK} -->\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the parameters, the pipeline's description and a vision tower's config."""
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    tower = tmp_path / "models/tiny/backbones/flamingo/vision"
    tower.mkdir(parents=True)
    (tower / "config.json").write_text(json.dumps({"image_size": 64, "patch_size": 8}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pretend(monkeypatch: pytest.MonkeyPatch, fails: Sequence[str] = ()) -> None:
    """Experiments that finish at once with made-up scores; those whose variant is in `fails` fail."""

    def run_all(
        _: Params, wanted: Sequence[Experiment], *, finished: Callable[[Experiment], None], **__: Any
    ) -> list[Experiment]:
        for experiment in wanted:
            if experiment.variant.name not in fails:
                finished(experiment)
        return [experiment for experiment in wanted if experiment.variant.name in fails]

    def collect(_: Params, experiment: Experiment, folder: Path) -> Path:
        path = folder / f"{experiment.name}.json"
        level = 0.2 if experiment.variant.name == "raw" else 0.6
        scores = {f"s{i}": level + 0.01 * i + 0.001 * experiment.seed for i in range(9)}
        write_json(
            path,
            {
                "variant": experiment.variant.name,
                "label": experiment.variant.label,
                "seed": experiment.seed,
                "judges": {},
                "changes": dict(experiment.changes),
                "scores": {stage: dict.fromkeys(METRICS, scores) for stage in experiment.variant.stages},
            },
        )
        return path

    monkeypatch.setattr(module, "prepare", lambda _: None)
    monkeypatch.setattr(module, "run_all", run_all)
    monkeypatch.setattr(module, "collect", collect)


def test_a_dry_run_shows_one_command_per_experiment(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablations", "--dry-run", "--variants", "raw", "--seeds", "4", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("dvc exp run --temp --single-item --name ") for line in lines)
    assert "params.yaml:tune.common.data=raw" in lines[3]
    assert "params.yaml:tune.common.seed=5" in lines[3]


def test_a_setting_without_a_value_is_a_users_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablations", "--dry-run", "--set", "tune.common.seed"]) == USER_ERROR
    assert "KEY=VALUE" in capsys.readouterr().err


def test_reports_tables_figures_and_the_page_are_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pretend(monkeypatch)
    page = project / "docs" / "ablations.md"
    page.parent.mkdir()
    page.write_text(MARKS)
    assert main(["ablations", "--variants", "raw", "--page", str(page)]) == 0
    shown = capsys.readouterr().out
    folder = project / "reports/ablations/tiny"
    assert shown == (folder / "tables.md").read_text()
    assert shown.strip() in page.read_text()
    for name in ("ablations.png", "u_by_seed.png"):
        assert (page.parent / "figures" / name).read_bytes() == (folder / name).read_bytes()
    assert list(read_json(folder / "summary.json")["variants"]) == ["base", "raw"]


def test_the_tables_are_of_all_that_is_finished_under_the_present_settings(project: Path) -> None:
    params = load_params()
    chosen = select_variants(params, ["vit"])
    finished, other = (
        experiments(params, chosen, [4], {}),
        experiments(params, chosen, [4], {"tune.stage1.epochs": 0.5}),
    )
    for experiment in (*finished, *other):
        (project / f"{experiment.name}.json").touch()
    assert [path.stem for path in module.measured(params, {}, project)] == [e.name for e in finished]


def test_what_finished_is_reported_although_another_one_failed_and_the_page_is_left_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pretend(monkeypatch, fails=["raw"])
    page = project / "page.md"
    page.write_text(MARKS)
    assert main(["ablations", "--variants", "raw", "--seeds", "1", "--page", str(page)]) == USER_ERROR
    assert "1 of 2 experiments failed" in capsys.readouterr().err
    assert list(read_json(project / "reports/ablations/tiny/summary.json")["variants"]) == ["base"]
    assert page.read_text() == MARKS


def test_the_page_of_the_docs_has_a_place_for_the_tables() -> None:
    text = (ROOT / "docs" / "ablations.md").read_text()
    assert text.index("begin " + MARK) < text.index("end " + MARK)
