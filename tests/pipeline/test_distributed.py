"""Two processes on a CPU (gloo): DDP and DeepSpeed's ZeRO train, lose a process, go on, and equal one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# train.py OUT STRATEGY DIE_AT: process 1 is killed after the checkpoint of step DIE_AT
TRAIN = """
import json, os, signal, sys
from pathlib import Path

import torch

from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import LoraSettings, inject_lora
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import Example
from polite_flamingo.train.group import leave_processes
from polite_flamingo.train.loop import train
from polite_flamingo.train.resume import Unfinished
from polite_flamingo.train.settings import Distribution, TrainingRun, TrainSettings, ValidationSettings
from polite_flamingo.train.validation import mean_loss

torch.set_num_threads(1)
root, strategy, die_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
bundle = load_flamingo(root / "base")
inject_lora(bundle, LoraSettings(r=4, alpha=4, dropout=0.0))
set_trainable(bundle, ["lora", "perceiver", "xattn"])
examples = []
for index, word in enumerate(["red", "blue", "green", "star"] * 4):
    shown = index % 3 != 0  # a micro-batch may have no image at all
    text = ("<image><|endofchunk|>" if shown else "") + f"what color is the star ? {word}</s>"
    ids = tuple(bundle.tokenizer(text, add_special_tokens=False).input_ids)
    images = (f"{index % 6}.png",) if shown else ()
    examples.append(Example(f"e{index}", ids, (-100,) * (len(ids) - 3) + ids[-3:], images))
saved = Unfinished.save
def save(self, learner, state):
    saved(self, learner, state)
    if state.step == die_at and learner.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
Unfinished.save = save
settings = TrainSettings(
    learning_rate=3e-3, epochs=4, global_batch_size=8, warmup_steps=2, weight_decay=0.01, micro_batch_size=2,
    validation=ValidationSettings(every=4, patience=9), checkpoint_seconds=0.0,
)
config = Path("configs/deepspeed") / f"{strategy}.json" if strategy.startswith("zero") else None
out = root / strategy
result = train(
    bundle, examples, settings,
    TrainingRun(strategy, root / "images", out, NullTracker(), Distribution(strategy, config), root / "work"),
    validation=examples[:5],
)
if leave_processes():
    save_trainables(bundle, out / "result")
    fresh = load_flamingo(root / "base", trainables=out / "result", merge=False)
    facts = {
        "losses": result.losses, "validation": result.validation, "resumed_from": result.resumed_from,
        "best_step": result.best_step,
        "after": mean_loss(fresh, examples, image_root=root / "images"),
        "in_memory": mean_loss(bundle, examples, image_root=root / "images"),
    }
    (out / "facts.json").write_text(json.dumps(facts))
"""


def launch(root: Path, strategy: str, processes: int, die_at: int = -1) -> subprocess.CompletedProcess[str]:
    script = root / "train.py"
    script.write_text(TRAIN)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "DS_LOG_LEVEL": "error",
        "HF_HUB_OFFLINE": "1",
    }
    words = [*command, str(script), str(root), strategy, str(die_at)]
    return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def facts(root: Path, strategy: str) -> dict:
    return json.loads((root / strategy / "facts.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model, a few images and what one process learns."""
    from PIL import Image
    from tests.model.micro import build_micro

    from polite_flamingo.model.flamingo import save_flamingo

    folder = tmp_path_factory.mktemp("distributed")
    save_flamingo(build_micro(), folder / "base")
    (folder / "images").mkdir()
    for index in range(6):
        Image.new("RGB", (32, 32), (40 * index, 255 - 30 * index, 90)).save(folder / "images" / f"{index}.png")
    done = launch(folder, "none", 1)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.pipeline
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_two_processes_that_lose_one_and_go_on_equal_a_single_process(root: Path, strategy: str) -> None:
    if strategy != "ddp" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("DeepSpeed compiles its communication on a CPU and finds no C++ compiler")
    died = launch(root, strategy, 2, die_at=5)
    assert died.returncode != 0
    assert not (root / strategy / "facts.json").exists()
    if strategy == "ddp":  # another number of processes would go on with other dropout: refused
        refused = launch(root, strategy, 1)
        assert "'processes': '2 -> 1'" in refused.stderr
    done = launch(root, strategy, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = facts(root, "none"), facts(root, strategy)
    assert two["resumed_from"] >= 5
    assert len(two["losses"]) == len(one["losses"]) == 8
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert [loss for _, loss in two["validation"]] == pytest.approx([loss for _, loss in one["validation"]], abs=1e-4)
    assert two["best_step"] == one["best_step"]
    assert two["after"] == pytest.approx(one["after"], abs=1e-4)
    assert two["in_memory"] == pytest.approx(two["after"], abs=1e-5)
