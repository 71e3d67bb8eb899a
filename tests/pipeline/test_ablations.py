"""DVC experiments under SIGKILL: git sees nothing of them, the next run ends well, `dvc exp` lists what is finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.pipeline.pretence import PROJECT, Copy

RUN = """
import sys
from pathlib import Path
from polite_flamingo.ablations.experiments import experiments, prepare
from polite_flamingo.ablations.queue import run_all
from polite_flamingo.ablations.variants import Variant
from polite_flamingo.params.reading import load_params

params = load_params(profile="tiny")
if sys.argv[1:]:
    prepare(params)
variants = [Variant("epochs", "epochs", {"tune.stage2.epochs": 7.0})]
names = []
failed = run_all(
    params, experiments(params, variants, [3], {}), jobs=1, logs=Path(".work/logs"),
    finished=lambda e: names.append(e.name),
)
assert not failed, [Path(f".work/logs/{e.name}.log").read_text() for e in failed]
print(*names)
"""


def _start(copy: Copy, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", RUN, *words],
        cwd=copy.root,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "DVC_NO_ANALYTICS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.pipeline
def test_experiments_killed_at_any_time_leave_git_clean_and_are_listed_at_the_end(tmp_path: Path) -> None:
    copy = Copy(tmp_path, git=True)
    copy.dvc("repro", "check_pf1m", "tune_raw")
    copy.git("add", "dvc.lock")
    copy.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "state")
    clone = copy.root / ".work/ablations/clone"
    instants = (
        lambda: "  seed: 3" in (clone / "params.yaml").read_text(),
        lambda: any((clone / ".dvc/tmp/exps/standalone").glob("tmp*/ran.txt")),
    )
    for instant in instants:
        process = _start(copy)
        while True:
            assert process.poll() is None, process.communicate()[1]
            try:
                if instant():
                    break
            except FileNotFoundError:
                pass
            time.sleep(0.002)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
        assert copy.git("status", "--porcelain") == ""
    process = _start(copy, "prepare")
    lines, log = process.communicate()
    assert process.returncode == 0, log
    names = lines.splitlines()[-1].split()
    assert len(names) == 1
    assert set(copy.dvc("exp", "list", "--name-only").split()) == set(names)
    assert copy.git("status", "--porcelain") == ""
