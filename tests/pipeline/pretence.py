"""A copy of the pipeline whose stages only pretend to work, to see which ones DVC runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from tests.pipeline.forks import Fork, Forks

from polite_flamingo.launch.pipeline_file import read_stages

PROJECT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = read_stages(PROJECT / "dvc.yaml")

# Stands for the package in the stages' commands: writes what dvc.yaml says the stage writes, different every time but
# for stamps and for what same.txt names. plays.json may have a stage do more, or something else: run the real package,
# take its time, wait for another to begin or for a file, show a variable, fail a few times, print, copy what is given.
STAND_IN = """\
import json, os, pathlib, shutil, subprocess, sys, time, uuid
stage, profile = sys.argv[1], sys.argv[sys.argv.index("--profile") + 1] if "--profile" in sys.argv else ""
same = pathlib.Path("same.txt").read_text().split() if pathlib.Path("same.txt").exists() else []
with open("ran.txt", "a") as log:
    log.write(f"{stage}@{profile}\\n")
plays = json.loads(pathlib.Path("plays.json").read_text()) if pathlib.Path("plays.json").exists() else {}
play = plays.get(stage, {})
if "source" in play:  # Prefect puts this folder into PYTHONPATH
    real = {**os.environ, "PYTHONPATH": play["source"]}
    sys.exit(subprocess.call([sys.executable, "-P", "-m", "polite_flamingo", *sys.argv[1:]], env=real))
for tick in range(play.get("seconds", 0)):
    print(f"{stage}: {100 * tick // play['seconds']}%|##  | {tick}/9 [00:01<00:09,  1.0rec/s]", flush=True)
    time.sleep(1)
while f"{play['beside']}@{profile}" not in pathlib.Path("ran.txt").read_text() if "beside" in play else False:
    time.sleep(0.1)
while "until" in play and not pathlib.Path(play["until"]).exists():
    time.sleep(0.1)
if "shows" in play:
    print(stage, play["shows"], os.environ.get(play["shows"]))
if pathlib.Path("ran.txt").read_text().split().count(f"{stage}@{profile}") <= play.get("failures", 0):
    pathlib.Path(os.environ["POLITE_FLAMINGO_FAILURE"]).write_text(json.dumps(play["error"]))
    sys.exit(2)
if "prints" in play:
    print(json.dumps(play["prints"]))
for out in json.loads(pathlib.Path("outs.json").read_text()).get(stage, []):
    path = pathlib.Path(out.replace("${profile}", profile).replace("${item.profile}", profile))
    inside = ["a.txt", "instruction", "annotation", "evaluation", "pf1m", "flamingo"]
    for file in [path] if path.suffix else [path / name for name in inside]:
        file.parent.mkdir(parents=True, exist_ok=True)
        constant = path.suffix == ".ok" or str(path) in same
        file.write_text(json.dumps({"run": "always" if constant else str(uuid.uuid4())}))
for given, folder in play.get("copies", {}).items():
    shutil.rmtree(folder)
    shutil.copytree(given, folder)
"""


def outs_of(stage: dict[str, Any]) -> list[str]:
    """Paths that a stage writes."""
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


class Copy:
    """A copy of the pipeline whose stages only pretend to work; with `git`, a repository with one commit."""

    forks: ClassVar[Forks | None] = None  # runs DVC, where a command of its own is not the point

    def __init__(self, root: Path, *, git: bool = False) -> None:
        self.root = root
        for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(PROJECT / name, root)
        for name in ("configs", ".dvc"):
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
        for name in ("data", "models", "reports"):
            (root / name).mkdir()
            shutil.copy(PROJECT / name / "README.md", root / name)
            shutil.copy(PROJECT / name / ".gitignore", root / name)
        for path in {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith("src/")}:
            file = root / path if path.endswith(".py") else root / path / "__init__.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("# code\n")
        (root / "outs.json").write_text(json.dumps({name: outs_of(stage) for name, stage in STAGES.items()}))
        (root / "polite_flamingo").mkdir()  # comes before the installed package
        (root / "polite_flamingo" / "__init__.py").touch()
        (root / "polite_flamingo" / "__main__.py").write_text(STAND_IN)
        if git:
            self.commit_all()
        else:
            (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")

    def play(self, **stages: dict[str, Any]) -> None:
        """Have stages do something else, and all others what they do by default."""
        (self.root / "plays.json").write_text(json.dumps(stages))

    def bring_flows(self) -> None:
        """Flows and deployments that run these stages, by the real package."""
        shutil.copy(PROJECT / "prefect.yaml", self.root)
        shutil.copytree(PROJECT / "flows", self.root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "flows" / "polite_flamingo").symlink_to(PROJECT / "src" / "polite_flamingo")

    def start(self, *words: str, log: str) -> Fork:
        """Start a DVC of its own."""
        assert self.forks is not None
        file = self.root.with_suffix(f".{log}")
        return self.forks.start(*words, cwd=self.root, log=file, module="dvc", environment=self._environment())

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}

    def dvc(self, *words: str) -> str:
        if self.forks is not None:
            process = self.start(*words, log="log")
            assert process.wait(timeout=240) == 0, process.said()
            return process.log.read_text()
        command = [sys.executable, "-m", "dvc", *words]
        done = subprocess.run(
            command, cwd=self.root, env=self._environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True, check=True).stdout

    def commit_all(self) -> None:
        """Make a repository of the copy, with one commit of all that git keeps."""
        (self.root / ".dvc" / "config.local").unlink(missing_ok=True)
        (self.root / ".gitignore").open("a").write("/ran.txt\n/plays.json\n/flows\n/prefect.yaml\n")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")

    def ran(self, *words: str) -> list[str]:
        """Stages that `dvc repro` runs."""
        log = self.root / "ran.txt"
        log.unlink(missing_ok=True)
        self.dvc("repro", *words)
        return log.read_text().split() if log.exists() else []

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))
