"""The rewriting engine under SIGKILL at random moments: the same bytes, nothing lost, nothing done twice but in flight.

``POLITE_FLAMINGO_KILLS`` sets how often the process is killed (3).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from polite_flamingo.jobs.engine import Job
from polite_flamingo.rewrite.repair import REWRITES

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("POLITE_FLAMINGO_KILLS", "3"))
RECORDS, CALL, SHARD = 3000, 20, 200
SECONDS_PER_CALL = 0.02

SCRIPT = f"""
import sys
from pathlib import Path
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.rewrite.question import RewriteQuestion
from polite_flamingo.rewrite.repair import REWRITES, RepairingBackend, RepairPolicy
from tests.unit.jobs.stub import Stub, questions

out = Path(sys.argv[1])
asked = questions({RECORDS})
for index in range(0, {RECORDS}, 7):
    asked[index] = RewriteQuestion(f"t/{{index}}", "?", ("once:empty", "never:unchanged")[index % 2])
stub = Stub(log=out / "log", delay={SECONDS_PER_CALL})
(out / "started").touch()
executor = LocalExecutor(RepairingBackend(stub, RepairPolicy(attempts=1)), {CALL})
run(Job(REWRITES, out / "journal", out, shard_size={SHARD}), asked, executor)
"""


def start(out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    (out / "started").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], env=environment, stderr=subprocess.PIPE)


def finish(out: Path) -> None:
    process = start(out)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr.decode()[-2000:]


def shards(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((out / "journal").iterdir()) if p.name != "lock"}


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.pipeline
@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes_and_repeats_at_most_a_call_per_kill(
    tmp_path, record_property
) -> None:
    finish(tmp_path / "straight")
    once = Counter(line.split()[1] for line in (tmp_path / "straight" / "log").read_text().splitlines())
    killed = tmp_path / "killed"
    shortest = RECORDS / CALL * 2 * SECONDS_PER_CALL  # every call has something to repair, so the stub sleeps twice
    for kill in range(KILLS):
        done = size(killed / "log")
        process = start(killed)
        # one in four is killed anywhere in its start, the others at work
        while size(killed / "log") == done if kill % 4 else not (killed / "started").exists():
            assert process.poll() is None, process.stderr.read().decode()[-2000:]
            time.sleep(0.002)
        time.sleep(Random().uniform(0, 0.8 * shortest / KILLS))  # all together shorter than the work
        assert process.poll() is None, process.stderr.read().decode()[-2000:]
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(killed)
    found = list(Job(REWRITES, killed / "journal", killed).outcomes())
    assert [o.index for o in found] == list(range(RECORDS))
    assert [o.id for o in found] == [f"t/{i}" for i in range(RECORDS)]
    assert shards(killed) == shards(tmp_path / "straight")
    lines = Counter(line.split()[1] for line in (killed / "log").read_text().splitlines())
    assert set(lines) == set(once)
    repeated = sum(lines[key] > once[key] for key in lines)
    assert repeated <= KILLS * CALL
    record_property("records_computed_again", repeated)
