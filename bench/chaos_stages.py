"""Real stages of the finished demo that are killed, damaged, started twice and left without a disk; a bad endpoint."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.chaos_bits import flip
from bench.chaos_tally import HELD, LOST, RECOMPUTED, REFUSED, SILENT, Tally
from bench.common import ROOT

OUTPUTS = {  # stage -> what it writes, the quickest first; then how long it takes on two idle cores
    "distort": (("data/tiny/pairs", "reports/tiny/distort.json"), 5),
    "filter": (("data/tiny/pf1m", "reports/tiny/filter.json"), 6),
    "tune_stage1": (("models/tiny/stage1", "reports/tiny/tune_stage1.json"), 15),
    "rewrite": (("data/tiny/rewrites", "reports/tiny/rewrite.json"), 30),
    "score": (("data/tiny/scored", "reports/tiny/score.json"), 45),
}
WRITERS = (
    "download",
    "distort",
    "filter",
    "check_raw",
    "rewrite",
    "score",
    "train_rewriter",
    "tune_stage1",
    "evaluate",
)
PROFILE, MACHINE = "configs/profiles/tiny.yaml", "src/polite_flamingo/train/settings.py"
SHORTER = (  # without recording; a training of some twenty steps, kept as often as costs little
    (PROFILE, "tracking: mlflow", "tracking: none"),
    (PROFILE, "epochs: 1.6", "epochs: 0.3"),
    (MACHINE, "30.0, ge=0", "0.0, ge=0"),
)
SET_ASIDE = "is set aside as"
CODE = ("src", "configs", "params.yaml", "dvc.yaml", ".dvc/config", "dvc.lock")
FINISHED = ("data/tiny", "models/tiny", "reports/tiny")


class Finished:
    """A copy of a project whose demo has run; its stages run by hand, without DVC and MLflow.

    Args:
        folder: Where it goes.
        original: The project.
    """

    def __init__(self, folder: Path, original: Path) -> None:
        self.folder = folder
        for name, root in [*((name, ROOT) for name in CODE), *((name, original) for name in FINISHED)]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, symlinks=True)
            elif (root / name).exists():
                shutil.copy(root / name, folder / name)
        for name, before, after in SHORTER:
            text = (folder / name).read_text()
            if text.count(before) != 1:
                raise SystemExit(f"{name} no longer says {before!r}")
            (folder / name).write_text(text.replace(before, after))

    def start(self, stage: str, limit: int | None = None) -> subprocess.Popen[str]:
        """Start a stage in a session of its own, perhaps with a limit of every file's size."""

        def bounded() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

        quiet = {"DVC_NO_ANALYTICS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "polite_flamingo", stage, "--profile", "tiny"],
            cwd=self.folder,
            env={**os.environ, **quiet, "PYTHONPATH": str(self.folder / "src")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=None if limit is None else bounded,
        )

    def digest(self, stage: str) -> str:
        """Hash of what a stage has written."""
        digest = hashlib.sha256()
        for output in OUTPUTS[stage][0]:
            path = self.folder / output
            for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
                digest.update(str(file.relative_to(self.folder)).encode() + file.read_bytes())
        return digest.hexdigest()


def kill_stages(tally: Tally, stages: list[str], scratch: Path, original: Path) -> None:
    """Kill a stage twice; between, start it twice at once, and flip a bit in what it has kept; then let it end."""
    project = Finished(scratch / "stages", original)
    for stage in stages:
        seconds = OUTPUTS[stage][1]
        if not tally.has_time(f"kills of stage {stage}", 4 * seconds):
            continue
        if stage == "tune_stage1":
            project.start(stage).communicate()  # shorter than the demo's
        expected, rng = project.digest(stage), tally.rng("stages", stage)
        for output in OUTPUTS[stage][0]:
            path = project.folder / output
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        damaged = False
        for number in range(2):
            process = project.start(stage)
            wait = rng.uniform(0.3, 0.9) * seconds * (1 + number)
            if number == 0:
                _start_another(tally, project, stage, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            damaged = damaged or (number == 0 and _damage(project, stage, rng.random(), rng.random()))
        last = project.start(stage)
        told = last.communicate()[1]
        if last.returncode:
            tally.add(f"kills of stage {stage}", LOST, told[-600:])
            continue
        same = project.digest(stage) == expected
        if not same:  # another machine than the one of the demo: an undisturbed run decides
            project.start(stage).communicate()
            same = project.digest(stage) == expected
        tally.add(f"kills of stage {stage}", HELD if same else SILENT, "other outputs than those of the demo")
        if damaged:
            ending = RECOMPUTED if SET_ASIDE in told else HELD
            tally.add("a bit in what a killed stage keeps", ending if same else SILENT, stage)


def _start_another(tally: Tally, project: Finished, stage: str, first: subprocess.Popen[str]) -> None:
    """Start the same stage beside one that is at work; it is to be refused."""
    end = time.monotonic() + 60
    while not any((project.folder / ".work").glob("**/lock")) and time.monotonic() < end and first.poll() is None:
        time.sleep(0.1)
    second = project.start(stage)
    try:
        told = second.communicate(timeout=240)[1]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
    if second.returncode == 2 and "another process is writing this output" in told and "Traceback" not in told:
        tally.add(f"two processes of stage {stage}", REFUSED)
    else:  # the first one has ended before; what both wrote is compared later
        tally.add(f"two processes of stage {stage}", HELD if second.returncode == 0 else LOST, told[-600:])


def _damage(project: Finished, stage: str, which: float, where: float) -> bool:
    """Flip a bit in one of the files a killed stage keeps; False where it keeps none."""
    kept = [
        path for path in sorted((project.folder / ".work").rglob("*")) if path.is_file() and path.stat().st_size > 9
    ]
    kept = [path for path in kept if path.name != "lock" and not path.name.endswith(".damaged")]
    if not kept:
        return False
    path = kept[int(which * len(kept))]
    flip(path, int(where * 8 * path.stat().st_size))
    return True


def refuse_disk(tally: Tally, stages: list[str], scratch: Path, original: Path) -> None:
    """Every stage that writes: where no file may grow, on a full disk, on one that may not be written."""
    project = Finished(scratch / "limit", original)

    def judge(kind: str, stage: str, words: str, process: subprocess.Popen[str]) -> None:
        told = process.communicate()[1]
        clear = process.returncode == 2 and words in told and "Traceback" not in told and "where: " in told
        tally.add(f"{kind}: {stage}", REFUSED if clear else LOST, f"status {process.returncode}: {told[-600:]}")

    for stage in stages:
        if tally.has_time(f"no file may grow: {stage}", 15):
            judge("no file may grow", stage, "the file would grow above the limit", project.start(stage, limit=3000))
    shutil.rmtree(project.folder)
    if not _may_mount(scratch):
        tally.skipped.append("a full disk, and one that may not be written: no right to mount one")
        return
    with _disk(scratch / "disk") as (disk, remount):
        project = Finished(disk / "project", original)
        filler = disk / "filler"
        with suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        for stage in stages:
            if tally.has_time(f"a full disk: {stage}", 15):
                judge("a full disk", stage, "the disk is full", project.start(stage))
        filler.unlink()
        remount("ro")
        for stage in stages[:4]:
            if tally.has_time(f"a read-only disk: {stage}", 15):
                judge("a read-only disk", stage, "the folder cannot be written", project.start(stage))
        remount("rw")
        for stage in [stage for stage in stages if stage in ("distort", "filter")]:
            before = project.digest(stage)
            same = project.start(stage).wait() == 0 and project.digest(stage) == before
            tally.add(f"after a full disk: {stage}", HELD if same else SILENT, "other outputs than before")


@contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, Callable[[str], object]]]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(folder)], check=True)
    try:
        yield folder, lambda how: subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _may_mount(scratch: Path) -> bool:
    if os.geteuid() != 0:
        return False
    try:
        with _disk(scratch / "probe"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def ask_faulty(tally: Tally, records: int, scratch: Path) -> None:
    """An endpoint of which two in five tries fail in every way; each record gets its own answer, or a reason."""
    from tests.unit.jobs.backends.faulty_server import FAULTS, serving

    from polite_flamingo.jobs.backends.endpoint import EndpointBackend
    from polite_flamingo.jobs.settings import EndpointSettings
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated
    from polite_flamingo.rewrite.question import RewriteQuestion

    rng = tally.rng("endpoint")
    plans = {f"record {n}": [rng.choice(FAULTS) for _ in range(3) if rng.random() < 0.4] for n in range(records)}
    plans |= {f"record {n}": ["500"] * 99 for n in range(0, records, 20)}  # never answered
    settings = EndpointSettings(pause=0.001, timeout=1.5, attempts=5, concurrency=16)
    with serving(lambda record, number: next(iter(plans[record][number:]), None), timeout=1.5) as server:
        backend = EndpointBackend(
            server.url,
            "m",
            GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=False),
            scratch,
            endpoint=settings,
        )
        answers = backend.answer([RewriteQuestion(f"id{n}", f"<record {n}>", "red", ()) for n in range(records)])
        backend.close()
    for number, answer in enumerate(answers):
        if isinstance(answer, Generated):
            right = answer.text == f"answer to record {number}"
            again = RECOMPUTED if plans[f"record {number}"] else HELD
            tally.add("a faulty endpoint", again if right else SILENT, f"record {number}: {answer.text}")
        else:
            tally.add("a faulty endpoint", REFUSED if answer.reason and number % 20 == 0 else LOST, answer.reason)
