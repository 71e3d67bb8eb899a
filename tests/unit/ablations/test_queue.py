"""Experiments side by side: none twice, one beginning at a time, all stopped together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polite_flamingo.ablations import queue as module
from polite_flamingo.ablations.experiments import Experiment
from polite_flamingo.ablations.queue import Queue, run_all
from polite_flamingo.ablations.variants import Variant
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params

ROOT = Path(__file__).resolve().parents[3]
BEGIN = "print('Reproducing experiment', flush=True); "


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    return loaded


def _experiments(*names: str) -> list[Experiment]:
    return [Experiment(Variant("base", "recipe", {}), 1, {}, name) for name in names]


def _pretend(monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]) -> None:
    monkeypatch.setattr(module, "command", lambda _, e, *__: [sys.executable, "-c", scripts[e.name]])


def _queue(params: Params, names: list[str], jobs: int, finished: Callable[[Experiment], None]) -> Queue:
    return Queue(params, Path(), jobs, Path(), finished, _experiments(*names))


def test_finished_experiments_are_not_run_again_and_failed_ones_are_named(
    params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _pretend(monkeypatch, {"good": "print('fine')", "bad": "raise SystemExit('broken')"})
    monkeypatch.setattr(module, "existing", lambda: {"old"})
    monkeypatch.setattr(module, "clone_project", lambda *_: tmp_path)
    monkeypatch.setattr(module, "fetch_experiment", lambda *_: None)
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    finished: list[str] = []
    failed = run_all(
        params,
        _experiments("old", "good", "bad"),
        jobs=2,
        logs=tmp_path / "logs",
        finished=lambda e: finished.append(e.name),
    )
    assert finished == ["old", "good"]
    assert [experiment.name for experiment in failed] == ["bad"]
    assert "broken" in (tmp_path / "logs" / "bad.log").read_text()


def test_an_experiment_that_met_another_ones_lock_is_tried_again(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_time = "import pathlib; p = pathlib.Path('met'); "
    second_time += "again = p.exists(); p.touch(); again or exit('ERROR: Unable to acquire lock')"
    _pretend(monkeypatch, {"late": second_time})
    finished: list[str] = []
    queue = _queue(params, ["late"], 1, lambda e: finished.append(e.name))
    queue.run()
    assert (finished, queue.failed) == (["late"], [])


def test_an_interruption_stops_what_runs(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); {BEGIN}time.sleep(60)"
    _pretend(monkeypatch, {"long": script, "short": "pass"})

    def interrupt(_: Experiment) -> None:
        raise KeyboardInterrupt

    queue = _queue(params, ["long", "short"], 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        queue.run()
    queue.stop()
    assert not Path(f"/proc/{Path('pid').read_text()}").exists()


def test_experiments_begin_one_after_the_other(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = "import pathlib, time; p = pathlib.Path('busy'); p.touch(exist_ok=False); time.sleep(0.6); p.unlink(); "
    _pretend(monkeypatch, dict.fromkeys(("one", "two", "three"), alone + BEGIN + "time.sleep(0.6)"))
    queue = _queue(params, ["one", "two", "three"], 3, lambda _: None)
    queue.run()
    assert queue.failed == []
