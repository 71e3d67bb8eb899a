"""What a training is told and what it tells: plain values, no model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from polite_flamingo.tracking.base import Tracker

Strategy = Literal["none", "ddp", "zero1", "zero2", "zero3"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of one training.

    Args:
        learning_rate: Peak learning rate of AdamW.
        epochs: Passes over the data, may be fractional.
        global_batch_size: Sequences per optimizer step over all processes.
        scheduler: After the linear warm-up: constant, or cosine to zero.
        warmup_steps: Optimizer steps of the warm-up.
        max_grad_norm: Gradients are clipped to this norm.
        weight_decay: AdamW's; biases, norms and gates are spared.
        seed: Decides order and dropout.
        validate_every: Optimizer steps between two losses on the validation examples, 0: none.
        patience: Validations without a better loss before the training stops and goes back to its best weights,
            0: never.
        micro_batch_size: Sequences per forward pass of a process (the machine's; changes nothing but rounding).
        bf16: Compute in bfloat16; what learns stays float32.
        checkpoint_seconds: Least time between checkpoints (the machine's); they take 5 % of the time at most.
    """

    learning_rate: float
    epochs: float
    global_batch_size: int
    scheduler: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    seed: int = 42
    validate_every: int = 0
    patience: int = 0
    micro_batch_size: int = 16
    bf16: bool = False
    checkpoint_seconds: float = 30.0

    def rate(self, step: int, total: int) -> float:
        """Learning rate of optimizer step `step` (0-based) of `total`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.scheduler == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True, slots=True)
class Distribution:
    """How the processes of a training share its work; with one process nothing is shared.

    Args:
        strategy: ``none`` and ``ddp``: every process holds everything; ``zero1`` shards what the optimizer keeps,
            ``zero2`` the gradients too, ``zero3`` the weights too (DeepSpeed).
        config: DeepSpeed's configuration file, for the three ZeRO stages.
    """

    strategy: Strategy = "none"
    config: Path | None = None

    @property
    def sharded(self) -> bool:
        """True for the three ZeRO stages."""
        return self.strategy.startswith("zero")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Where a training runs and who watches; nothing of it changes the result but rounding.

    Args:
        label: Name on the bar, in the tracker and of the folder for unfinished work.
        image_root: Folder of the image paths.
        out: Folder for ``loss.png``.
        tracker: Receives what `train.meter.Meter` lists, and the validation losses.
        distribution: How the processes a launcher started share the work.
        work_root: Folder of all unfinished work (git-ignored).
    """

    label: str
    image_root: Path
    out: Path
    tracker: Tracker
    distribution: Distribution = Distribution()
    work_root: Path = Path(".work")

    @property
    def folder(self) -> Path:
        """Folder of this training's unfinished work (`train.resume`)."""
        return self.work_root / self.label


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training did.

    Args:
        losses: Mean loss per supervised token (nats) of every step.
        steps: Number of optimizer steps.
        tokens: Number of tokens seen, padding excluded.
        validation: Step and mean loss of every validation.
        best_step: Step whose weights the model has now: the last one, or with `patience` the best validated one.
        resumed_from: Step the run went on from, 0 for a fresh one.
        seconds: Wall-clock time of this process; this and what follows is never part of an output.
        waiting_share: Share of that time (without validation and checkpoints) in which the model waited for data.
        useful_share: Share of real tokens among those this process computed, padding included.
    """

    losses: tuple[float, ...]
    steps: int
    tokens: int
    validation: tuple[tuple[int, float], ...] = ()
    best_step: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    waiting_share: float = 0.0
    useful_share: float = 1.0

    @property
    def final_loss(self) -> float:
        """Mean loss of the last tenth of the steps."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(tail) / len(tail)

    def validated(self) -> dict[str, float]:
        """Figures of the validation for a report; empty where there was none."""
        if not self.validation:
            return {}
        return {
            "validation_loss": round(dict(self.validation).get(self.best_step, self.validation[-1][1]), 4),
            "best_step": self.best_step,
        }
