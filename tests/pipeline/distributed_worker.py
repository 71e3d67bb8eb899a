"""What one process of tests/pipeline/test_distributed.py does; imported before it is forked."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "DS_LOG_LEVEL": "error", "HF_HUB_OFFLINE": "1"}

import deepspeed  # noqa: F401 - it takes seconds to import: once, not in every process
import torch

from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import Example
from polite_flamingo.train.group import leave_processes
from polite_flamingo.train.loop import train
from polite_flamingo.train.resume import Unfinished
from polite_flamingo.train.settings import Distribution, TrainingRun, TrainSettings, ValidationSettings
from polite_flamingo.train.validation import mean_loss

CONFIGS = Path(__file__).parents[2] / "configs" / "deepspeed"


def work(root: Path, strategy: str, die_at: int, rank: int, environment: dict[str, str]) -> None:
    """Train `root/base`; process 1 is killed after the checkpoint of step `die_at`; the first writes its facts."""
    os.environ |= environment
    sys.stderr = (root / f"{strategy}-{rank}.log").open("w", buffering=1)
    torch.set_num_threads(1)
    saved = Unfinished.save

    def save(self: Unfinished, learner: Any, state: Any) -> None:
        saved(self, learner, state)
        if state.step == die_at and learner.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Unfinished.save = save  # type: ignore[method-assign]
    bundle = load_flamingo(root / "base")
    inject_lora(bundle, LoraSettings(r=4, alpha=4, dropout=0.0))
    set_trainable(bundle, ["lora", "perceiver", "xattn"])
    examples = _examples(bundle.tokenizer)
    settings = TrainSettings(
        learning_rate=3e-3,
        epochs=4,
        global_batch_size=8,
        warmup_steps=2,
        weight_decay=0.01,
        micro_batch_size=2,
        validation=ValidationSettings(every=4, patience=9),
        checkpoint_seconds=0.0,
    )
    distribution = Distribution(strategy, CONFIGS / f"{strategy}.json" if strategy.startswith("zero") else None)
    out = root / strategy
    run = TrainingRun(strategy, root / "images", out, NullTracker(), distribution, root / "work")
    result = train(bundle, examples, settings, run, validation=examples[:5])
    if not leave_processes():
        return
    save_trainables(bundle, out / "result")
    fresh = load_flamingo(root / "base", trainables=out / "result", merge=False)
    facts = {
        "losses": result.losses,
        "validation": result.validation,
        "resumed_from": result.resumed_from,
        "best_step": result.best_step,
        "after": mean_loss(fresh, examples, image_root=root / "images"),
        "in_memory": mean_loss(bundle, examples, image_root=root / "images"),
    }
    (out / "facts.json").write_text(json.dumps(facts))


def _examples(tokenizer: Any) -> list[Example]:
    examples = []
    for index, word in enumerate(["red", "blue", "green", "star"] * 4):
        shown = index % 3 != 0  # a micro-batch may have no image at all
        text = ("<image><|endofchunk|>" if shown else "") + f"what color is the star ? {word}</s>"
        ids = tuple(tokenizer(text, add_special_tokens=False).input_ids)
        images = (f"{index % 6}.png",) if shown else ()
        examples.append(Example(f"e{index}", ids, (-100,) * (len(ids) - 3) + ids[-3:], images))
    return examples
