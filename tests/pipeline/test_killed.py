"""Long work under SIGKILL, which no process can catch: started again it ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRAIN = """
import sys
from pathlib import Path
from tests.model.micro import build_micro
from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import LoraSettings, inject_lora
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.collate import Example
from polite_flamingo.train.loop import TrainSettings, train

out = Path(sys.argv[1])
if not (out / "base").is_dir():
    save_flamingo(build_micro(), out / "base")
bundle = load_flamingo(out / "base")
inject_lora(bundle, LoraSettings(r=4, alpha=4, dropout=0.2))
set_trainable(bundle, ["lora"])
made = []
for index, word in enumerate(["red", "blue", "green", "star"] * 2):
    ids = tuple(bundle.tokenizer(f"what color is the star ? {word}</s>", add_special_tokens=False).input_ids)
    made.append(Example(f"e{index}", ids, (-100,) * (len(ids) - 3) + ids[-3:]))
settings = TrainSettings(3e-3, epochs=60, global_batch_size=4, warmup_steps=2, checkpoint_seconds=0.0)
places = {"image_root": out, "out": out, "work_root": out / "work"}
result = train(bundle, made, settings, tracker=NullTracker(), label="t", **places)
save_trainables(bundle, out / "result")
(out / "resumed_from").write_text(str(result.resumed_from))
"""

SHARDS = """
import sys, time
from pathlib import Path
from polite_flamingo.io import resumable

out = Path(sys.argv[1])
calls = []

def work(chunk):
    calls.append(chunk)
    time.sleep(0.02)
    return [{"id": str(i), "square": i * i} for i in chunk]

resumable(range(400), work, out=out / "result", key="k", work_root=out / "work", chunk_size=4)
(out / "resumed_from").write_text(str(100 - len(calls)))
"""


def start(script: str, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script, str(out)], env=environment, stderr=subprocess.PIPE)


def finish(script: str, out: Path) -> None:
    process = start(script, out)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr.decode()[-2000:]


def kill_when(process: subprocess.Popen[bytes], begun: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not begun():
        assert process.poll() is None, process.stderr.read().decode()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.pipeline
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "sign"),
    [(TRAIN, "work/t/*/checkpoint.pt"), (SHARDS, "work/*/k/part-000012.parquet")],
    ids=["train", "shards"],
)
def test_killed_twice_and_started_again_it_ends_with_the_same_bytes(tmp_path, script, sign) -> None:
    finish(script, tmp_path / "straight")
    killed = tmp_path / "killed"
    for _ in range(2):
        kill_when(start(script, killed), lambda: any(killed.glob(sign)))
        assert not (killed / "result").exists()
    finish(script, killed)
    assert int((killed / "resumed_from").read_text()) > 0
    assert contents(killed / "result") == contents(tmp_path / "straight" / "result")
