"""The command line: light, forgiving about dashes, clear about mistakes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polite_flamingo import __main__, __version__, cli
from polite_flamingo import stages as stages_package
from polite_flamingo.cli.command import Verb, Verbs
from polite_flamingo.environment import DEVICE_VARIABLE, FAILURE_VARIABLE
from polite_flamingo.io.text import write_json
from polite_flamingo.launch import distributed, interfaces, pipeline_run
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE, Params
from polite_flamingo.pipeline import BY_NAME, STAGES

PROJECT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "mlflow", "great_expectations", "prefect", "dvc", "pandas", "matplotlib")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with parameters and nothing else; tracking is off."""
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    tiny = (PROJECT / "configs" / "profiles" / "tiny.yaml").read_text().replace("tracking: mlflow", "tracking: none")
    (tmp_path / "configs" / "profiles" / "tiny.yaml").write_text(tiny)
    monkeypatch.chdir(tmp_path)
    for variable in (DATA_ROOT_VARIABLE, DEVICE_VARIABLE):
        monkeypatch.setenv(variable, "")  # so that what the command line sets is undone
        monkeypatch.delenv(variable)
    return tmp_path


@pytest.fixture
def stage_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Params, tuple[str, ...]]]:
    """Replace the stages `filter` and `check` by ones that note how they were called."""
    calls: list[tuple[Params, tuple[str, ...]]] = []

    def run(params: Params, tracker: Any, *arguments: str) -> dict[str, Any]:
        calls.append((params, arguments))
        return {"kept": 3}

    for name in ("filter", "check"):
        module = ModuleType(f"polite_flamingo.stages.{name}")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_help_and_parameters_load_no_heavy_library() -> None:
    code = (
        "import sys; from polite_flamingo.cli import main; main(['--help']); main(['whatif', '--help']);"
        "light = 'pydantic' not in sys.modules;"
        "from polite_flamingo.params.reading import load_params; load_params();"
        f"print(light, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "True []"
    assert [stage.name for stage in STAGES if f"  {stage.name} " not in done.stdout] == []


def test_a_verb_may_be_written_with_dashes(project: Path, stage_calls: list[Any]) -> None:
    assert cli.main(["check-pf1m"]) == 0
    assert stage_calls[0][1] == ("pf1m",)


def test_options_stand_before_or_after_the_verb(project: Path, stage_calls: list[Any]) -> None:
    assert cli.main(["--device", "cpu", "filter"]) == 0
    assert cli.main(["filter", "--device", "cuda:1"]) == 0
    assert [params.runtime.device for params, _ in stage_calls] == ["cpu", "cuda:1"]


def test_the_environment_may_name_the_device(
    project: Path, stage_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "cuda")
    assert cli.main(["filter"]) == 0
    assert stage_calls[0][0].runtime.device == "cuda"


MISTAKES: list[tuple[list[str], list[str]]] = [
    (["filter", "--profile", "tinny"], ["unknown profile", "'tinny'", "did you mean 'tiny'"]),
    (["filter", "--device", "tpu"], ["unknown device", "'tpu'", "cuda"]),
    (["filter", "--data-root", "nowhere"], ["data root is no folder", "'nowhere'"]),
    (["filter", "--params", "other.yaml"], ["file does not exist", "other.yaml"]),
    (["report"], ["nothing to report", "polite-flamingo run"]),
    (["explain", "coco/train/1"], ["no records yet", "make demo"]),
    (["plan", "--profile", "tinny"], ["unknown profile", "did you mean 'tiny'"]),
    (["plan", "--device", "cuda:x"], ["unknown device", "'cuda:x'"]),
    (["plan", "--profile", "unbuilt"], ["needs its parts", "'build:hub'", "backbones.flamingo"]),
    (["plan", "--profile", "headless"], ["names no base to train", "backbones.flamingo"]),
    (["whatif", "--set", "filter.sts.min_cosin=0.5"], ["did you mean 'min_cosine'"]),
    (["whatif", "--set", "filter.sts=0.5"], ["filter.sts: has keys of its own"]),
    (["whatif"], ["nothing has been scored yet", "polite-flamingo run --until score"]),
    (["rescore", "missing.json"], ["file does not exist", "'missing.json'"]),
    (["rescore", "params.yaml", "--scorers", "sts", "--sts", "nowhere"], ["model folder does not exist", "--sts"]),
    (["rescore", "params.yaml", "--scorers", "rogue"], ["unknown scorer", "did you mean 'rouge'"]),
    (["calibrate", "--labels", "configs"], ["a folder, not a file", "--labels"]),
    (["calibrate", "--page", "missing.md"], ["file does not exist", "--page"]),
    (["calibrate", "real", "--nli", "nowhere"], ["model folder does not exist", "--nli"]),
    (["filtering-report", "--out", "configs"], ["a folder, not a file", "--out"]),
    (["filtering-report"], ["nothing has been filtered yet", "polite-flamingo run --until filter"]),
    (["ablations", "--page", "missing.md"], ["file does not exist", "--page"]),
    (["ablations", "--set", "tune.stage1.epochs=[1"], ["not valid YAML", "tune.stage1.epochs"]),
    (["ablations", "--set", "tune.stage1.epochs"], ["tune.stage1.epochs", "KEY=VALUE"]),
    (["export-model", "params.yaml"], ["file cannot be used", "params.yaml"]),
    (["export-model", "new"], ["model folder lacks a part", "models/tiny/backbones/flamingo"]),
    (["models", "register"], ["has not run", "filter@tiny"]),
    (["import-model", "--stage", "raw", "missing.pt"], ["file does not exist", "missing.pt"]),
    (["import-model", "--stage", "raw", "configs"], ["a folder, not a file", "CHECKPOINT"]),
]
OUT_OF_RANGE: list[tuple[list[str], str]] = [
    (["plan", "--tokens-per-second", "-5"], "'-5' is no number above 0"),
    (["plan", "--tokens-per-second", "nan"], "'nan' is no number above 0"),
    (["plan", "--tokens-per-second", "fast"], "'fast' is no number above 0"),
    (["whatif", "--examples", "-1"], "'-1' is no count"),
    (["report", "--records", "0"], "'0' is no number above 0"),
    (["calibrate", "--max-corrupted", "3"], "'3' is no share"),
    (["calibrate", "--prevalence", "nan"], "'nan' is no share"),
    (["ablations", "--jobs", "0"], "'0' is no number above 0"),
    (["ablations", "--seeds", "1", "x"], "'x' is no count"),
    (["filtering-report", "--examples", "some"], "'some' is no count"),
    (["export-model", "new", "--stage", "stage9"], "'stage9' is not one of"),
    (["import-model", "x.pt"], "Missing option '--stage'"),
    (["models", "promote", "reward"], "'reward' is not one of"),
    (["models", "rollback", "assistant"], "Missing option '--reason'"),
]
UNKNOWN_WORDS: list[tuple[list[str], list[str]]] = [
    (["exlain"], ["No such command 'exlain'", "'explain'", "--help"]),
    (["tune-stage9"], ["No such command", "tune_stage1"]),
    (["report", "--jsn"], ["No such option", "--json"]),
    (["explain"], ["Missing argument 'ID'", "polite-flamingo explain --help"]),
    ([], ["Verbs:", "--help"]),
]


def test_a_mistake_ends_with_status_2_and_is_told_with_its_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = (project / "configs" / "profiles" / "tiny.yaml").read_text()
    for name, flamingo in (("unbuilt", '  flamingo: "build:hub"\n'), ("headless", "")):
        path = project / "configs" / "profiles" / f"{name}.yaml"
        path.write_text(tiny.replace("  flamingo: packaged\n", flamingo))
    for argv, words in MISTAKES:
        assert cli.main(argv) == cli.USER_ERROR, argv
        message = capsys.readouterr().err
        assert message.startswith("error: ") and "Traceback" not in message, argv
        assert [word for word in words if word not in message] == [], argv


def test_an_option_out_of_its_range_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, words in OUT_OF_RANGE:
        assert cli.main(argv) == cli.USER_ERROR, argv
        assert words in capsys.readouterr().err, argv


def test_run_reports_what_dvc_has_done_and_passes_its_status_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(pipeline_run, "run_pipeline", lambda params, **options: calls.append(options) or len(calls) - 1)
    write_json(project / "reports" / "tiny" / "distort.json", {"pairs": 5, "strategies": {}})
    (project / "raw").mkdir()
    assert cli.main(["run", "--until", "distort", "--data-root", "raw", "--device", "cpu"]) == 0
    assert "Profile tiny" in capsys.readouterr().out
    assert calls == [{"until": "distort", "data_root": "raw", "device": "cpu", "end_other": False}]
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().out == ""


def test_a_training_of_several_processes_is_launched_unless_it_is_one_of_them(
    project: Path, stage_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = project / "configs" / "profiles" / "tiny.yaml"
    profile.write_text(profile.read_text().replace("  tracking: none", "  tracking: none\n  distributed: ddp", 1))
    monkeypatch.setattr(distributed, "run_distributed", lambda stage, params, **files: 7)
    monkeypatch.setitem(sys.modules, "polite_flamingo.stages.tune", sys.modules["polite_flamingo.stages.filter"])
    assert cli.main(["tune-stage1"]) == 7
    assert cli.main(["filter"]) == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["tune_stage1"]) == 0
    assert [arguments for _, arguments in stage_calls] == [(), ("stage1",)]


def test_ui_serves_at_the_ports_that_were_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: dict[str, int] = {}
    monkeypatch.setattr(interfaces, "serve_interfaces", lambda docs, **chosen: ports.update(chosen) or 0)
    assert cli.main(["ui", "--mlflow-port", "5001"]) == 0
    assert ports == {"mlflow_port": 5001, "prefect_port": 4200}


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"polite-flamingo {__version__}\n"


def test_what_the_system_says_about_a_file_is_no_traceback(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unwritable(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "reports/tiny")

    monkeypatch.setattr(stages_package, "run_stage", unwritable)
    assert cli.main(["filter"]) == cli.USER_ERROR
    assert "Permission denied" in (shown := capsys.readouterr().err)
    assert "where: reports/tiny" in shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("attempt to write a readonly database"), "the folder cannot be written"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError("[Errno 28] Error writing bytes to file: No space left on device"), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(28, "No space left on device", "reports/x.json"), "where: reports/x.json"),
        (OSError(27, "File too large"), "ulimit -f"),
        (OSError(24, "Too many open files", "reports/x.json"), "ulimit -n"),
        (OSError(30, "Read-only file system", "reports/x.json"), "make it writable"),
        (MemoryError(), "no memory is left"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            "no memory is left",
        ),
    ],
)
def test_what_the_machine_refuses_any_stage_is_one_clear_message(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, words: str
) -> None:
    def refused(*_: object) -> None:
        try:
            raise error
        except Exception as cause:
            raise ValueError("writing failed") from cause

    monkeypatch.setattr(stages_package, "run_stage", refused)
    assert cli.main(["filter"]) == cli.USER_ERROR
    shown = capsys.readouterr().err
    assert words in shown
    assert ("where: " in shown) is (words != "no memory is left")
    assert "Traceback" not in shown


def test_on_a_full_disk_the_message_is_shown_although_it_cannot_be_left(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(FAILURE_VARIABLE, "failure.json")
    monkeypatch.setattr(stages_package, "run_stage", full)
    monkeypatch.setattr("polite_flamingo.launch.failures.write_json", full)
    assert cli.main(["filter"]) == cli.USER_ERROR
    assert "the disk is full" in capsys.readouterr().err


def test_a_verb_that_is_no_stage_is_shown_with_dashes_and_may_be_written_with_underscores(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["filtering_report"]) == cli.USER_ERROR
    assert "nothing has been filtered" in capsys.readouterr().err
    assert "filtering-report" in cli.VERBS.commands


def test_every_verb_has_help_and_its_examples_are_valid(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    single = {name: verb for name, verb in cli.VERBS.commands.items() if not isinstance(verb, Verbs)}
    families = {name: family for name, family in cli.VERBS.commands.items() if isinstance(family, Verbs)}
    members = {
        f"{name} {member}": verb for name, family in families.items() for member, verb in family.commands.items()
    }
    for name, verb in {**single, **members}.items():
        assert cli.main([*name.split(), "--help"]) == 0, name
        assert "Options of every verb" in capsys.readouterr().out, name
        assert isinstance(verb, Verb)
        assert (verb.short_help or "").strip(), name
        with monkeypatch.context() as parsing:
            parsing.setattr(Verb, "invoke", lambda *_: 0)
            for line in verb.examples:
                assert cli.main(shlex.split(line)[1:]) == 0, line


def test_several_values_may_follow_one_option(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(Verb, "invoke", lambda _, context: seen.append(context.params))
    assert (
        cli.main(
            [
                "ablations",
                "--variants",
                "vit",
                "epochs",
                "--seeds",
                "1",
                "2",
                "--dry-run",
                "--set",
                "a=1",
                "--set",
                "b=2",
                "c=3",
            ]
        )
        == 0
    )
    assert cli.main(["doctor", "data/raw", "--evaluation", "coco", "vqa", "--json"]) == 0
    ablations, doctor = seen
    assert (ablations["variants"], ablations["seeds"], ablations["dry_run"]) == (("vit", "epochs"), (1, 2), True)
    assert ablations["changes"] == ("a=1", "b=2", "c=3")
    assert (doctor["root"], doctor["evaluation"]) == (Path("data/raw"), ("coco", "vqa"))


def test_an_unknown_word_is_named_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, words in UNKNOWN_WORDS:
        assert cli.main(argv) == cli.USER_ERROR, argv
        message = capsys.readouterr().err
        assert [word for word in words if word not in message] == [], argv


def test_what_stands_after_the_verb_wins(project: Path, stage_calls: list[Any]) -> None:
    assert cli.main(["--device", "cpu", "filter", "--device", "cuda"]) == 0
    assert stage_calls[0][0].runtime.device == "cuda"


def test_ctrl_c_and_a_closed_pipe_have_their_status(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages_package, "run_stage", interrupted)
    assert cli.main(["filter"]) == 130
    assert capsys.readouterr().err == "\nstopped: " + cli.KEPT["filter"] + "\n"
    command = f"{sys.executable} -m polite_flamingo --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, env={"PYTHONPATH": "src"}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_libraries_are_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert __main__.main() == 130
    assert capsys.readouterr().err.strip() == "stopped: nothing was begun"


def test_a_programming_error_is_not_hidden(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stages_package, "run_stage", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["filter"])


def test_params_shows_what_the_profile_replaces(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["params"]) == 0
    assert "generation.do_sample: True -> False" in capsys.readouterr().out


def test_params_check_names_what_a_profile_cannot_have(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = project / "configs" / "profiles" / "mine.yaml"
    text = (project / "configs" / "profiles" / "tiny.yaml").read_text()
    profile.write_text(text.replace("  reward: packaged\n", ""))
    assert cli.main(["params", "--check"]) == cli.USER_ERROR
    assert "mine.yaml: the evaluation needs backbones.reward" in capsys.readouterr().err


def test_every_stage_has_a_verb_and_names_the_paper_or_says_ours() -> None:
    assert all("section" in stage.summary or "ours" in stage.summary for stage in STAGES[3:])
    assert list(cli.VERBS.commands)[: len(STAGES)] == list(BY_NAME)
