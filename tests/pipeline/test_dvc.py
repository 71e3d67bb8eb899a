"""dvc.yaml: the stages of the package, keyed by profile, re-run exactly when they must."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.closure import code_of_stage, uncovered
from tests.pipeline.forks import Forks
from tests.pipeline.pretence import PROJECT, STAGES, Copy, outs_of

from polite_flamingo.evaluate.plot_data import write_rewards, write_u_curve
from polite_flamingo.launch.project import cache_folder, profile_of, project_of, remove_unused
from polite_flamingo.params.reading import load_params
from polite_flamingo.pipeline import BY_NAME, FULL, SECOND_GENERATION, TUNE
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.reports.filtering.plot_data import write_plot_data
from polite_flamingo.train.meter import write_losses
from polite_flamingo.world.roc import ScoreCurves

IMPORTS = """
import configobj, dulwich.repo, jinja2, networkx, requests, ruamel.yaml, shtab, voluptuous
import dvc.api, dvc.cachemgr, dvc.cli.parser, dvc.data_cloud, dvc.dvcfile, dvc.output, dvc.parsing.context, dvc.render
import dvc.repo.experiments, dvc.repo.reproduce, dvc.repo.status, dvc.stage.loader, dvc.stage.run, dvc.utils.strictyaml
import dvc_data.index, dvc_objects.fs.local, scmrepo.git
"""


def _params(stage: dict[str, Any]) -> list[str]:
    names: list[str] = []
    for entry in stage.get("params", []):
        names += [entry] if isinstance(entry, str) else [f"profile:{key}" for keys in entry.values() for key in keys]
    return names


def test_the_stages_are_those_of_the_package_in_their_order() -> None:
    assert tuple(STAGES) == (*FULL, *SECOND_GENERATION)


def test_a_stage_runs_its_verb_for_its_profile() -> None:
    for name, stage in STAGES.items():
        profile = "${item.profile}" if name in SECOND_GENERATION else "${profile}"
        assert stage["cmd"] == f"python -m polite_flamingo {name} --profile {profile}"
        assert stage["matrix"] == {"profile": "${second_generation}" if name in SECOND_GENERATION else ["${profile}"]}
        assert [path for path in outs_of(stage) if f"/{profile}/" not in path] == [], name


def _code(stage: dict[str, Any]) -> list[str]:
    return [path for path in stage["deps"] if path.startswith("src/")]


def test_a_stage_depends_on_the_code_it_imports_and_on_no_other() -> None:
    for name, stage in STAGES.items():
        imported, code = code_of_stage(BY_NAME[name].module), _code(stage)
        assert uncovered(imported, code) == set(), f"{name} imports what it does not depend on"
        assert [path for path in code if not (PROJECT / path).exists()] == [], name
        for path in code:
            without = [other for other in code if other != path]
            packaged = path.startswith(
                "src/polite_flamingo/assets"
            )  # weights, opened by the names that a profile gives
            assert uncovered(imported, without) or packaged, f"{name} does not import {path}"


def test_an_import_counts_wherever_it_stands_but_for_type_checkers() -> None:
    imported = code_of_stage("tune")
    assert "src/polite_flamingo/train/loop.py" in imported  # inside a function
    assert "src/polite_flamingo/io/text.py" in imported  # through others
    assert "src/polite_flamingo/assets/object_names.yaml" in code_of_stage("score")  # named in a string
    assert not {path for path in imported if "/tracking/" in path or "/params/" in path}


def test_what_a_stage_reads_another_one_writes() -> None:
    written = [path.replace("item.", "") for stage in STAGES.values() for path in outs_of(stage)]
    for name, stage in STAGES.items():
        read = [path.replace("item.", "") for path in stage["deps"] if not path.startswith(("src/", "configs/"))]
        lost = [path for path in read if not any(path == out or path.startswith(f"{out}/") for out in written)]
        assert lost == [], name


def test_a_machines_settings_are_no_parameters() -> None:
    for name, stage in STAGES.items():
        assert [key for key in _params(stage) if "runtime" in key or key == "profile"] == [], name


def test_every_value_of_the_paper_is_a_parameter_of_some_stage() -> None:
    used = {key for stage in STAGES.values() for key in _params(stage)}
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    unused = [
        key
        for key, value in values.items()
        if key not in ("profile", "second_generation")  # they choose the stages themselves
        and key != "registry"  # after the stages
        and key not in used
        and not (isinstance(value, dict) and all(f"{key}.{inner}" in used for inner in value))
    ]
    assert unused == []


def test_gates_stand_before_what_uses_the_data() -> None:
    waits = {name: [Path(path).stem for path in stage["deps"] if "/checks/" in path] for name, stage in STAGES.items()}
    assert waits["distort"] == ["check_raw"]
    assert waits["train_rewriter"] == ["check_distorted"]
    assert waits["score"] == ["check_rewritten"]
    assert waits["tune_stage1"] == waits["tune_raw"] == ["check_pf1m"]


def test_the_summary_is_the_only_metric_and_the_only_file_for_git() -> None:
    uncached = [entry for stage in STAGES.values() for entry in [*stage.get("outs", []), *stage.get("metrics", [])]]
    assert [entry for entry in uncached if not isinstance(entry, str)] == STAGES["summary"]["metrics"]
    assert STAGES["summary"]["metrics"] == [{"reports/${profile}/summary.json": {"cache": False}}]
    assert [name for name, stage in STAGES.items() if "metrics" in stage] == ["summary"]


def test_git_keeps_the_summary_of_the_profile_that_params_yaml_names_and_of_no_other() -> None:
    outs = [out for stage in STAGES.values() for out in outs_of(stage)]
    own, other = profile_of(PROJECT / "params.yaml"), "another"
    paths = [out.replace("${item.profile}", p).replace("${profile}", p) for out in outs for p in (own, other)]
    words = ["git", "check-ignore", "--no-index", *paths]
    ignored = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    assert set(paths) - set(ignored) == {f"reports/{own}/summary.json"}


def test_plots_draw_what_stages_write_by_templates_that_fit(tmp_path: Path) -> None:
    from dvc_render.vega import VegaRenderer

    number = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    report = {"filters": [{"filter": "sts", "applied": 2, "would_drop_alone": 1}], "sources": {"coco": {"records": 2}}}
    caption = Rewrite("a", "coco", "train", "-", Task.CAPTION, "?", (), "raw", "text", "stop")
    curves = ScoreCurves()
    for cosine in (0.1, 0.9):
        curves.add(replace(caption, scores={"sts": cosine}), cosine < 0.5)
    write_plot_data(tmp_path / "filter", report, curves)
    write_losses([2.0, 1.0], tmp_path / "loss.csv")
    write_u_curve(tmp_path / "figures" / "u_curve.csv", {"stage1": {"reward": number}})
    write_rewards(tmp_path / "figures" / "rewards.csv", {"raw": [0.5]})
    outs = [out for stage in STAGES.values() for out in outs_of(stage)]
    for plot in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["plots"]:
        name, properties = (plot, None) if isinstance(plot, str) else next(iter(plot.items()))
        paths = [name] if properties is None else list(properties["y"])
        assert [path for path in paths if not any(path == out or path.startswith(f"{out}/") for out in outs)] == []
        for path in paths if properties else []:
            written = next(
                file for file in tmp_path.rglob("*.csv") if path.endswith(file.relative_to(tmp_path).as_posix())
            )
            with open(written) as file:
                rows = [{**row, "rev": "workspace", "filename": path} for row in csv.DictReader(file)]
            kinds = {**properties, "y": properties["y"][path], "template_dir": str(PROJECT / ".dvc" / "plots")}
            filled = json.dumps(VegaRenderer(rows, name, **kinds).get_filled_template())
            assert "DVC_METRIC" not in filled, name


@pytest.fixture(scope="module")
def forked_dvc() -> Iterator[None]:
    """DVC is imported once."""
    with Forks(IMPORTS) as Copy.forks:
        yield
    Copy.forks = None


@pytest.fixture(scope="module")
def finished(forked_dvc: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy after its first `dvc repro`."""
    copy = Copy(tmp_path_factory.mktemp("finished"))
    (copy.root / "same.txt").write_text("data/tiny/pf1m/kept")
    assert set(copy.ran()) == {f"{name}@tiny" for name in FULL}
    return copy.root


AFTER_FILTER = [f"{name}@tiny" for name in ("filter", "check_pf1m", *TUNE, "evaluate", "summary")]


@pytest.fixture
def pipeline(finished: Path, tmp_path: Path) -> Copy:
    """A fresh copy of the finished pipeline."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    copy = Copy.__new__(Copy)
    copy.root = tmp_path / "project"
    return copy


@pytest.mark.pipeline
def test_naming_a_profile_turns_its_second_generation_on(pipeline: Copy) -> None:
    pipeline.edit("params.yaml", "second_generation: []", "second_generation: [tiny]")
    assert pipeline.ran() == [f"{name}@tiny" for name in SECOND_GENERATION]


@pytest.mark.pipeline
def test_a_second_run_does_nothing(pipeline: Copy) -> None:
    assert pipeline.ran() == []


@pytest.mark.pipeline
def test_another_threshold_runs_the_filter_and_what_follows_it(pipeline: Copy) -> None:
    (pipeline.root / "same.txt").unlink()
    pipeline.edit("params.yaml", "min_cosine: 0.4", "min_cosine: 0.45")
    assert sorted(pipeline.ran()) == sorted(AFTER_FILTER)


@pytest.mark.pipeline
def test_a_threshold_that_keeps_the_same_records_trains_nothing(pipeline: Copy) -> None:
    values = yaml.safe_load((pipeline.root / "configs/profiles/tiny.yaml").read_text())
    values["overrides"]["filter"] = {"sts": {"min_cosine": 0.123}}  # a profile's own is a threshold like any other
    (pipeline.root / "configs/profiles/tiny.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert pipeline.ran() == ["filter@tiny", "check_pf1m@tiny", "summary@tiny"]


@pytest.mark.pipeline
def test_another_machine_runs_nothing(pipeline: Copy) -> None:
    pipeline.edit("configs/profiles/tiny.yaml", "device: auto", "device: cuda")
    pipeline.edit("configs/profiles/tiny.yaml", "threads: 2", "threads: 64")
    pipeline.edit("configs/profiles/tiny.yaml", "generation_batch_size: 32", "generation_batch_size: 8")
    assert pipeline.ran() == []
    assert "up to date" in pipeline.dvc("status")


@pytest.mark.pipeline
def test_the_last_stages_settings_leave_the_first_ones_alone(pipeline: Copy) -> None:
    pipeline.edit("params.yaml", "learning_rate: 1.0e-5", "learning_rate: 2.0e-5")
    assert sorted(pipeline.ran()) == ["evaluate@tiny", "summary@tiny", "tune_stage3@tiny"]
    values = yaml.safe_load((pipeline.root / "configs/profiles/tiny.yaml").read_text())
    values["overrides"]["tune"]["stage3"]["epochs"] = 99
    (pipeline.root / "configs/profiles/tiny.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert sorted(pipeline.ran()) == ["evaluate@tiny", "summary@tiny", "tune_stage3@tiny"]


@pytest.mark.pipeline
def test_a_gate_that_holds_with_other_figures_re_runs_nothing_but_itself(pipeline: Copy) -> None:
    pipeline.edit("params.yaml", "min_kept_share: 0.3", "min_kept_share: 0.2")
    assert pipeline.ran() == ["check_pf1m@tiny"]


@pytest.mark.pipeline
def test_a_second_repro_of_what_runs_is_refused_and_leaves_the_first_alone(pipeline: Copy) -> None:
    pipeline.edit("params.yaml", "min_kept_share: 0.3", "min_kept_share: 0.2")
    pipeline.play(check_pf1m={"until": "go"})
    ran = pipeline.root / "ran.txt"
    ran.unlink(missing_ok=True)
    first = pipeline.start("repro", log="first")
    while not ran.exists():
        assert first.poll() is None, first.said()
        time.sleep(0.02)
    second = pipeline.start("repro", log="second")
    assert second.wait(timeout=240) != 0
    assert "busy, it is being blocked by" in second.said()
    (pipeline.root / "go").touch()
    assert first.wait(timeout=240) == 0, first.said()
    assert ran.read_text().split() == ["check_pf1m@tiny"]
    assert pipeline.ran() == []


@pytest.mark.pipeline
def test_another_profile_runs_its_own_stages_and_leaves_the_first_ones_state_alone(pipeline: Copy) -> None:
    (pipeline.root / "configs" / "profiles" / "mine.yaml").write_text(
        "sources: [{name: table, folder: ., role: annotation, split: train}]\nrewriter_backend: openai:http://x/v1#m\n"
    )
    with project_of("mine", pipeline.root) as folder:
        side = Copy.__new__(Copy)
        side.root = folder
        stages = load_params(folder / "params.yaml", "mine").stages
        assert side.ran() == [f"{name}@mine" for name in stages]
        assert side.ran() == []
    assert pipeline.ran() == []  # tiny
    pipeline.commit_all()
    stray = cache_folder(pipeline.root) / "files" / "md5" / "00" / "stray"
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    assert remove_unused(pipeline.root) > 0
    assert not stray.exists()
    shutil.rmtree(folder / "data" / "mine" / "rewrites")
    side.dvc("checkout", "data/mine/rewrites")  # the cache, which both share, still has it


@pytest.mark.pipeline
def test_a_stage_is_found_by_its_name_alone(pipeline: Copy) -> None:
    pipeline.edit("params.yaml", "clip_mode: paper", "clip_mode: fixed")
    assert pipeline.ran("--single-item", "score") == ["score@tiny"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Settings of a remote: a bucket of a server that speaks S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")  # credentials come from the environment, never from a file of git
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="team")
        yield {"url": "s3://team/dvc", "endpointurl": endpoint}
    finally:
        server.stop()


@pytest.mark.pipeline
def test_what_one_clone_pushes_another_pulls_and_runs_nothing(
    pipeline: Copy, store: dict[str, str], tmp_path: Path
) -> None:
    pipeline.commit_all()
    other = Copy.__new__(Copy)
    other.root = tmp_path / "other"
    for clone, verb in ((pipeline, "push"), (other, "pull")):
        if clone is other:
            pipeline.git("clone", "--quiet", str(pipeline.root), str(other.root))
        clone.dvc("remote", "add", "--quiet", "--local", "--default", "team", store["url"])
        for name in set(store) - {"url"}:
            clone.dvc("remote", "modify", "--local", "team", name, store[name])
        clone.dvc(verb)
    assert other.ran() == []
    assert other.git("status", "--porcelain") == pipeline.git("status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.pipeline
def test_experiments_wait_in_a_queue_and_are_compared_by_summary_and_parameter(pipeline: Copy) -> None:
    pipeline.commit_all()
    words = ("--set-param", "filter.sts.min_cosine=0.45", "--name", "stricter", "--single-item")
    pipeline.dvc("exp", "run", "--queue", *words, "filter@tiny", "summary@tiny")
    pipeline.dvc("exp", "run", "--run-all")
    assert pipeline.git("status", "--porcelain") == ""
    changes = json.loads(pipeline.dvc("exp", "diff", "--json", "HEAD", "stricter"))
    assert list(changes["metrics"]) == ["reports/tiny/summary.json"]
    assert changes["params"] == {
        "params.yaml": {"filter.sts.min_cosine": {"diff": pytest.approx(0.05), "old": 0.4, "new": 0.45}}
    }


@pytest.mark.pipeline
def test_the_graph_in_the_documents_is_the_pipelines(pipeline: Copy) -> None:
    graph = pipeline.dvc("dag", "--mermaid").strip()
    assert graph in (PROJECT / "docs" / "experiments.md").read_text(encoding="utf-8")
