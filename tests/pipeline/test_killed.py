"""Long work under SIGKILL, which no process can catch: started again it ends with the same bytes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from tests.pipeline.forks import Fork, Forks

IMPORTS = """
import deepspeed, torch._dynamo, matplotlib.pyplot, pyarrow.parquet
from transformers import CLIPVisionModel, LlamaForCausalLM, PreTrainedTokenizerFast
from tests.model import micro
from polite_flamingo.model import checkpoint, flamingo, freezing, lora
from polite_flamingo.train import loop
"""

TRAIN = """
import json
import sys
from pathlib import Path
from tests.model.micro import build_micro
from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import LoraSettings, inject_lora
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import Example
from polite_flamingo.train.loop import train
from polite_flamingo.train.settings import TrainingRun, TrainSettings

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
settings = TrainSettings(learning_rate=3e-3, epochs=25, global_batch_size=4, warmup_steps=2, checkpoint_seconds=0.0)
result = train(bundle, made, settings, TrainingRun("t", out, out, NullTracker(), work_root=out / "work"))
save_trainables(bundle, out / "result")
(out / "result" / "losses.json").write_text(json.dumps(result.losses))
(out / "resumed_from").write_text(str(result.resumed_from))
"""

SHARDS = """
import sys, time
from pathlib import Path
from polite_flamingo.io.chunks import resumable

out = Path(sys.argv[1])
calls = []

def work(chunk):
    calls.append(chunk)
    time.sleep(0.02)
    return [{"id": str(i), "square": i * i} for i in chunk]

resumable(range(400), work, out=out / "result", key="k", work_root=out / "work", chunk_size=4)
(out / "resumed_from").write_text(str(100 - len(calls)))
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(IMPORTS, environment={"OMP_NUM_THREADS": "1"}) as made:
        yield made


def start(forks: Forks, script: str, out: Path) -> Fork:
    out.mkdir(parents=True, exist_ok=True)
    return forks.start(str(out), cwd=out, log=out / "log", script=script)


def finish(forks: Forks, script: str, out: Path) -> None:
    process = start(forks, script, out)
    assert process.wait(timeout=240) == 0, process.said()


def kill_when(process: Fork, begun: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not begun():
        assert process.poll() is None, process.said()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def steps_done(folder: Path) -> int:
    """Step of the last checkpoint, 0 before the first."""
    try:
        return int(json.loads((folder / "work" / "t" / "unfinished" / "latest.json").read_text())["progress"]["step"])
    except FileNotFoundError:
        return 0


@pytest.mark.pipeline
@pytest.mark.slow
def test_a_training_killed_at_random_steps_has_the_losses_and_weights_of_an_uninterrupted_one(forks, tmp_path) -> None:
    finish(forks, TRAIN, tmp_path / "straight")
    killed = tmp_path / "killed"
    steps = sorted(Random().sample(range(1, 45), 2))
    for step in steps:
        kill_when(start(forks, TRAIN, killed), lambda step=step: steps_done(killed) >= step)
        assert not (killed / "result").exists()
    finish(forks, TRAIN, killed)
    assert int((killed / "resumed_from").read_text()) >= steps[-1]
    assert contents(killed / "result") == contents(tmp_path / "straight" / "result"), steps


@pytest.mark.pipeline
@pytest.mark.slow
def test_shards_killed_twice_and_started_again_have_the_same_bytes(forks, tmp_path) -> None:
    finish(forks, SHARDS, tmp_path / "straight")
    killed = tmp_path / "killed"
    for _ in range(2):
        kill_when(start(forks, SHARDS, killed), lambda: any(killed.glob("work/*/k/part-000012-*.parquet")))
        assert not (killed / "result").exists()
    finish(forks, SHARDS, killed)
    assert int((killed / "resumed_from").read_text()) > 0
    assert contents(killed / "result") == contents(tmp_path / "straight" / "result")
