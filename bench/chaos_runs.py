"""Pipelines that are killed, started twice, or lose a stage: with DVC and stages that only pretend to work.

What a pretended stage writes follows from what it reads, so that a state mixed of two runs is seen at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from copy import copy
from pathlib import Path

import psutil
from tests.pipeline.pretence import STAGES, Copy

from bench.chaos_tally import HELD, LOST, RECOMPUTED, REFUSED, SILENT, Tally
from bench.common import ROOT

MINE = "sources: [{name: table, folder: ., role: annotation, split: train}]\nrewriter_backend: openai:http://x/v1#m\n"
RUN = """
import sys
from polite_flamingo.cli import main
from polite_flamingo.launch import pipeline_run
from polite_flamingo.reports import headline
pipeline_run.require_endpoints = lambda *_: None  # of the second profile
headline.build_report = lambda _: {}
headline.render_report = lambda _: ""
sys.exit(main(sys.argv[1:]))
"""
STAND_IN = """
import hashlib, json, pathlib, random, sys, time
import polite_flamingo
polite_flamingo.__path__.append(SOURCE)
from polite_flamingo.launch.processes import end_with_dvc
stage, profile = sys.argv[1], sys.argv[sys.argv.index("--profile") + 1] if "--profile" in sys.argv else ""
stages = json.loads(pathlib.Path("stages.json").read_text())
if stage not in stages:
    sys.exit(0)
end_with_dvc()
read = hashlib.sha256(stage.encode())
for dep in stages[stage]["deps"]:
    dep = pathlib.Path(dep.replace("${profile}", profile))
    for file in [dep] if dep.is_file() else sorted(path for path in dep.rglob("*") if path.is_file()):
        read.update(file.read_bytes() if not file.suffix == ".py" else b"")
for out in stages[stage]["outs"]:
    path = pathlib.Path(out.replace("${profile}", profile).replace("${item.profile}", profile))
    inside = ["a.txt", "instruction", "annotation", "evaluation", "pf1m", "flamingo"]
    for file in [path] if path.suffix else [path / name for name in inside]:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "w") as opened:  # in two halves, so that a kill may come between
            said = "ok" if path.suffix == ".ok" else hashlib.sha256(read.digest() + str(file).encode()).hexdigest()
            for half in (said[:30], said[30:]):
                opened.write(json.dumps(half) if path.suffix == ".json" and half == said else half)
                opened.flush()
                time.sleep(random.uniform(0, 0.01))
    if path.suffix == ".json":
        path.write_text(json.dumps({"read": said}))
with open("ran.txt", "a") as log:
    log.write(f"{stage}@{profile}\\n")
"""


class Command(subprocess.Popen[bytes]):
    """A command that was started, and the file it prints to."""

    log: Path


class Pretended(Copy):
    """A copy of the pipeline whose stages write what follows from what they read."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        super().__init__(root)
        listed = {name: {"deps": stage["deps"], "outs": [*stage.get("outs", []), *stage.get("metrics", [])]}
                  for name, stage in STAGES.items()}  # fmt: skip
        for stage in listed.values():
            stage["outs"] = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
        (root / "stages.json").write_text(json.dumps(listed))
        source = STAND_IN.replace("SOURCE", repr(str(ROOT / "src" / "polite_flamingo")))
        (root / "polite_flamingo" / "__main__.py").write_text(source)
        (root / "configs" / "profiles" / "mine.yaml").write_text(MINE)

    def begin(self, *words: str, module: str = "") -> Command:
        """Start a command in a session of its own: the real command line, or a module."""
        command = [sys.executable, "-m", module] if module else [sys.executable, "-P", "-c", RUN]
        quiet = {"DVC_NO_ANALYTICS": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **quiet, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
        log = self.root.with_suffix(f".{time.monotonic_ns()}.log")
        with open(log, "wb") as file:
            process = Command(
                [*command, *words], cwd=self.root, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        process.log = log
        return process

    def digest(self, profile: str = "tiny") -> str:
        """Hash of all that stages of a profile have written."""
        digest = hashlib.sha256()
        for name in ("data", "models", "reports"):
            for path in sorted((self.root / name / profile).rglob("*")):
                if path.is_file():
                    digest.update(f"{path.relative_to(self.root)}".encode() + path.read_bytes())
        return digest.hexdigest()

    def left(self) -> list[str]:
        """Commands of processes that still work in the folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.root.resolve()) and process.pid != os.getpid():
                    found.append(" ".join(process.cmdline())[:200])
            except (psutil.Error, OSError):
                continue
        return found

    def is_idle(self, seconds: float = 15.0) -> bool:
        """Whether nothing works in the folder any more, soon."""
        end = time.monotonic() + seconds
        while self.left():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True


def said(process: Command) -> str:
    """What a command has printed."""
    return process.log.read_text(errors="replace")


def straight_run(scratch: Path) -> Pretended:
    """A project whose pipelines, of both profiles, ran undisturbed.

    Raises:
        SystemExit: they do not run.
    """
    project = Pretended(scratch / "straight")
    for profile in ("tiny", "mine"):
        process = project.begin("run", "--profile", profile)
        if process.wait() != 0:
            raise SystemExit(f"the pretended pipeline does not run\n{said(process)[-2000:]}")
    return project


def kill_runs(tally: Tally, kills: int, scratch: Path, straight: Pretended) -> None:
    """Kill `run`, each time in a new project: its group, itself, or the DVC it started; half of them as DVC commits."""
    rng = tally.rng("runs")
    whole, stages = 10.0, (straight.root / "ran.txt").read_text().count("@tiny")
    for number in range(kills):
        who, commit = ("group", "run", "DVC", "group")[number % 4], number % 2 == 1
        kind = f"kill of {'the group of `run`' if who == 'group' else who}{', as DVC commits' if commit else ''}"
        if not tally.has_time(kind, 3 * whole):
            break
        project = Pretended(scratch / f"killed-{number}")
        began = time.monotonic()
        process = project.begin("run")
        _wait(project, process, rng, whole, commit)
        _kill(process, who)
        process.wait()
        if not project.is_idle():
            tally.add(kind, LOST, f"still at work: {project.left()}")
            continue
        last = project.begin("run")
        if last.wait() != 0:
            tally.add(kind, LOST, said(last)[-600:])
            continue
        again = len((project.root / "ran.txt").read_text().split()) - stages
        whole = max(whole, time.monotonic() - began)
        if project.digest() != straight.digest():
            tally.add(kind, SILENT, "other outputs than those of an undisturbed run")
        elif again > 1:
            tally.add(kind, LOST, f"{again} stages that DVC had taken ran again")
        else:
            tally.add(kind, RECOMPUTED if again else HELD)
        shutil.rmtree(project.root)


def tear_states(tally: Tally, scratch: Path, straight: Pretended) -> None:
    """Cut dvc.lock off, as a kill does while DVC writes it in place: nothing that has run runs again."""
    for share in (0.0, 0.3, 0.9):
        if not tally.has_time("a torn dvc.lock", 30):
            return
        project = copy(straight)
        project.root = scratch / f"torn-{share}"
        shutil.copytree(straight.root, project.root, symlinks=True)
        state = project.root / "dvc.lock"
        text = state.read_bytes()
        state.write_bytes(text[: int(share * len(text))])
        process, ran = project.begin("run"), (project.root / "ran.txt").read_bytes()
        if process.wait() != 0 or (project.root / "ran.txt").read_bytes() != ran:
            tally.add("a torn dvc.lock", LOST, said(process)[-600:])
        else:
            same = project.digest() == straight.digest()
            tally.add("a torn dvc.lock", RECOMPUTED if same else SILENT, f"{share:.0%} of it")
        shutil.rmtree(project.root)


def _wait(project: Pretended, process: Command, rng: random.Random, whole: float, commit: bool) -> None:
    """Until the moment of a kill: any, or just after a stage has ended, when DVC takes its outputs."""
    log = project.root / "ran.txt"
    ended = len(log.read_text().split()) if log.exists() else 0
    end = time.monotonic() + (60.0 if commit else rng.uniform(0.3, 0.8 * whole))
    wanted = ended + rng.randint(1, 4)
    while time.monotonic() < end and process.poll() is None:
        if commit and log.exists() and len(log.read_text().split()) >= wanted:
            time.sleep(rng.uniform(0, 0.25))
            return
        time.sleep(0.005)


def _kill(process: Command, who: str) -> None:
    try:
        if who == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif who == "run":
            process.kill()
        else:
            children = psutil.Process(process.pid).children(recursive=True)
            for child in children:
                if "dvc" in child.cmdline() and "repro" in child.cmdline():
                    child.kill()
    except (ProcessLookupError, psutil.Error):
        pass  # it ended before


def run_two(tally: Tally, scratch: Path, straight: Pretended) -> None:
    """Two runs at once: of one profile, of two, by DVC alone; and one that ends another."""

    def judge(kind: str, project: Pretended, codes: list[int], told: str, expected: str, profile: str = "tiny") -> None:
        right = project.digest(profile) == straight.digest(profile)
        ending = (HELD if not any(codes) else expected) if right else SILENT
        if any(codes) and not any(
            word in told for word in ("is going on", "already at work", "busy", "Unable to acquire")
        ):
            ending = LOST
        tally.add(kind, ending, told[-600:])

    for number in range(2):
        if not tally.has_time("two `dvc repro` at once", 30):
            return
        project = Pretended(scratch / f"two-{number}")
        pair = [project.begin("repro", module="dvc"), project.begin("repro", module="dvc")]
        codes = [process.wait() for process in pair]
        told = "".join(said(process) for process, code in zip(pair, codes, strict=True) if code)
        codes_after = project.begin("repro", module="dvc").wait()
        judge("two `dvc repro` at once", project, [*codes, codes_after] if codes_after else codes, told, REFUSED)
    project = Pretended(scratch / "runs")
    first = project.begin("run")
    _until_at_work(project, first)
    second = project.begin("run")
    codes = [second.wait(), first.wait()]
    judge("two `run` of one profile at once", project, codes, said(second), REFUSED)

    if not tally.has_time("two profiles at once", 60):
        return
    project = Pretended(scratch / "profiles")
    pair = [project.begin("run"), project.begin("run", "--profile", "mine")]
    codes = [process.wait() for process in pair]
    judge("two profiles at once", project, codes, "".join(map(said, pair)), REFUSED)
    judge("two profiles at once", project, codes, "".join(map(said, pair)), REFUSED, "mine")

    for kind, words, module in (("run", ["run"], ""), ("`dvc repro` by hand", ["repro"], "dvc")):
        if not tally.has_time(f"a {kind} ended by another run", 30):
            return
        project = Pretended(scratch / f"ended-{module or 'run'}")
        first = project.begin(*words, module=module)
        _until_at_work(project, first)
        second = project.begin("run", "--end-other")
        codes = [second.wait()]
        first.wait()
        judge(f"a {kind} ended by another run", project, codes, said(second), LOST)


def _until_at_work(project: Pretended, process: Command) -> None:
    while not (project.root / "ran.txt").exists() and process.poll() is None:
        time.sleep(0.02)
