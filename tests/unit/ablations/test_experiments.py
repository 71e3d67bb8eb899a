"""Which experiments there are, and what DVC is asked to run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from polite_flamingo.ablations.experiments import command, experiments, prepare
from polite_flamingo.ablations.variants import Variant
from polite_flamingo.errors import ConfigError
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params

ROOT = Path(__file__).resolve().parents[3]
VARIANTS = [Variant("base", "recipe", {}, ("stage1",)), Variant("raw", "raw", {"tune.common.data": "raw"})]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny profile in a folder with the pipeline's description and one source file."""
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "configs" / "profiles", tmp_path / "configs" / "profiles")
    (tmp_path / "src/polite_flamingo/train").mkdir(parents=True)
    (tmp_path / "src/polite_flamingo/train/loop.py").write_text("first = 1\n")
    loaded = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    return loaded


def _names(params: Params, **extra: object) -> list[str]:
    return [experiment.name for experiment in experiments(params, VARIANTS, [1, 2], extra)]


def test_there_is_one_experiment_per_variant_and_seed(params: Params) -> None:
    assert [name.rpartition("-")[0] for name in _names(params)] == [
        "base-seed1",
        "base-seed2",
        "raw-seed1",
        "raw-seed2",
    ]


def test_the_recipe_may_have_more_seeds_than_its_variants(params: Params) -> None:
    found = [(e.variant.name, e.seed) for e in experiments(params, VARIANTS, [1], {}, [1, 2])]
    assert found == [("base", 1), ("base", 2), ("raw", 1)]


def test_the_same_inputs_give_the_same_names(params: Params) -> None:
    assert _names(params) == _names(params)


def test_other_code_data_or_budget_is_another_experiment(params: Params) -> None:
    before = set(_names(params))
    assert before.isdisjoint(_names(params, **{"tune.stage1.epochs": 0.5}))
    Path("src/polite_flamingo/train/loop.py").write_text("first = 2\n")
    changed_code = set(_names(params))
    assert before.isdisjoint(changed_code)
    lock = Path("dvc.lock").read_text()
    pf1m = lock.index("path: data/tiny/pf1m/kept\n")
    Path("dvc.lock").write_text(lock[:pf1m] + lock[pf1m:].replace("md5: ", "md5: 0", 2))
    assert changed_code.isdisjoint(_names(params))


def test_compiled_python_is_no_other_code(params: Params) -> None:
    before = _names(params)
    cache = Path("src/polite_flamingo/train/__pycache__")
    cache.mkdir()
    (cache / "loop.pyc").write_bytes(b"x")
    assert _names(params) == before


def test_the_machine_is_no_part_of_the_name(params: Params) -> None:
    other = params.model_copy(update={"runtime": params.runtime.model_copy(update={"threads": 63})})
    assert _names(other) == _names(params)


def test_dvc_runs_the_stages_one_by_one_in_a_copy_and_measures_what_is_needed(params: Params) -> None:
    experiment = experiments(params, VARIANTS, [7], {})[1]
    words = command(params, experiment)
    assert words[3:7] == ["exp", "run", "--temp", "--single-item"]
    assert words[-5:] == [f"{s}@tiny" for s in ("tune_stage1", "tune_stage2", "tune_stage3", "evaluate", "summary")]
    for setting in (
        "params.yaml:tune.common.data=raw",
        "params.yaml:tune.common.seed=7",
        "params.yaml:evaluate.models=[stage2,stage3]",
    ):
        assert setting in words


def test_a_folder_without_git_is_refused(params: Params) -> None:
    assert subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, check=False).returncode != 0
    with pytest.raises(ConfigError, match="git repository"):
        prepare(params)
