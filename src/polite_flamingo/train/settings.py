"""What a training is told and what it tells: plain values, no model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from polite_flamingo.devices import DeviceSettings
from polite_flamingo.model.settings import AdapterSettings
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.tracking.base import Tracker

DEEPSPEED = Path("configs/deepspeed")
Strategy = Literal["none", "ddp", "zero1", "zero2", "zero3"]
Trainable = Literal["lora", "perceiver", "xattn", "vision"]
Part = Literal["instruction", "pf1m", "raw"]


class ValidationSettings(Settings):
    """Sequences held out to validate a training (ours)."""

    inline: ClassVar[bool] = True
    share: float = Field(0.0, ge=0, lt=1, description="share of the data, of every part of a mixture")
    every: int = Field(0, ge=0, description="optimizer steps between two losses on them; 0: none")
    patience: int = Field(
        0,
        ge=0,
        description="validations without a better loss before the training stops and goes back to its best weights; "
        "0: never",
    )


class OptimizerSettings(Settings):
    """Schedule of AdamW and what bounds it."""

    scheduler: Literal["constant", "cosine"] = Field(
        "constant", description="authors' scripts; after the linear warm-up: constant, or cosine to zero"
    )
    warmup_steps: int = Field(100, ge=0, description="authors' scripts; optimizer steps")
    max_grad_norm: float = Field(1.0, gt=0, description="authors' training code; gradients are clipped to this norm")
    weight_decay: float = Field(
        0.1,
        ge=0,
        description="authors' training code; of the cross-attention's matrices, norms and gates spared",
    )
    validation: ValidationSettings = Field(
        ValidationSettings(),
        description="ours: share of the data held out to validate; every N steps; stop after `patience` validations "
        "without a better loss (0: never) and keep the best weights",
    )


class PassSettings(Settings):
    """How fast and how often a training goes over its data."""

    learning_rate: float = Field(gt=0, description="Table 4; peak, of AdamW")
    global_batch_size: int = Field(gt=0, description="Table 4; sequences per optimizer step")
    epochs: float = Field(gt=0, description="Table 4; passes over the data, may be fractional")


class RewriterTraining(OptimizerSettings, PassSettings):
    """Training of the rewriter (section 3.3, appendix A)."""

    lora: AdapterSettings = Field(
        AdapterSettings(),
        description="appendix A: rank 64, on attention and FFN; alpha and dropout: QLoRA's recipe for 7B, for the "
        "paper begins from Guanaco-7B and names neither; quantize (ours): nf4 is QLoRA, the frozen decoder in four "
        "bits (extra `qlora`, a GPU); start_from: folder of an adapter in PEFT's format, or hub:<id>@<revision>",
    )
    learning_rate: float = Field(1.0e-4, gt=0, description="Table 4; peak, of AdamW")
    global_batch_size: int = Field(256, gt=0, description="Table 4")
    context_length: int = Field(1024, gt=0, description="Table 4; tokens")
    epochs: float = Field(3, gt=0, description="Table 4; passes over the data")


class DialogueSettings(Settings):
    """Joining records to dialogues (section 4.4, appendix A)."""

    mode: Literal["paper", "pack", "fit"] = Field(
        "paper",
        description="paper: every sample opens a dialogue, random draws fill its padding; pack (ours): each sample "
        "once, as many as fit; fit (ours): the fullest dialogues, each turn sees its own image",
    )
    max_turns: int = Field(32, gt=0, description="authors' scripts")


class TuneCommon(OptimizerSettings):
    """What the three stages of the U and the comparison on raw annotations share."""

    seed: int | None = Field(None, description="ours: another draw of data order, dropout and LoRA; null: `seed`")
    data: Literal["pf1m", "raw"] = Field(
        "pf1m", description="Figure 9: raw puts the raw annotations in the place of PF-1M in every mixture"
    )
    resolution: int | None = Field(
        None, gt=0, description="Figure 9: side of the images in pixels; null: the vision tower's own"
    )
    lora: AdapterSettings = Field(AdapterSettings(), description="appendix A; as in `rewriter`")
    multiturn: DialogueSettings = Field(DialogueSettings(), description="section 4.4")
    mixing: Literal["ratio", "sqrt"] = Field(
        "ratio", description="authors' code: ratio, or sqrt (data sets weigh by the square root of their size)"
    )


class StageSettings(PassSettings):
    """One stage of the U."""

    trainable: list[Trainable] = Field(description="section 4.3, appendix A; the connector's FFN stays frozen")
    context_length: int = Field(gt=0, description="Table 4; tokens of a dialogue (at 196 few turns are joined)")
    max_images: int = Field(gt=0, description="Table 4; images of a dialogue")
    mixture: dict[Part, float] = Field(description="section 4.3: share of each part of the data")


class TuneSettings(Settings):
    """Training of the assistant: the U (section 4.3, Table 4)."""

    common: TuneCommon = Field(TuneCommon(), description="of all stages")
    skip_stage1: bool = Field(False, description="Figure 9: true starts stage 2 from the base")
    stage1: StageSettings = Field(
        StageSettings(
            trainable=["lora"],
            global_batch_size=256,
            learning_rate=1.0e-4,
            context_length=1024,
            max_images=10,
            epochs=1,
            mixture={"instruction": 1.0, "pf1m": 0.1},
        ),
        description="section 4.3: language model only, through LoRA, on all instructions and a tenth of PF-1M (97k)",
    )
    stage2: StageSettings = Field(
        StageSettings(
            trainable=["perceiver", "xattn"],
            global_batch_size=1024,
            learning_rate=1.0e-4,
            context_length=196,
            max_images=3,
            epochs=3,
            mixture={"pf1m": 1.0},
        ),
        description="section 4.3: the connector, on all of PF-1M",
    )
    stage3: StageSettings = Field(
        StageSettings(
            trainable=["lora"],
            global_batch_size=256,
            learning_rate=1.0e-5,
            context_length=1024,
            max_images=10,
            epochs=1,
            mixture={"instruction": 1.0, "pf1m": 0.1},
        ),
        description="section 4.3: stage 1 again, at a tenth of its learning rate",
    )


class TrainSettings(OptimizerSettings, PassSettings):
    """Settings of one training; `TrainSettings.of` takes them from a stage's, the common ones and the machine's."""

    seed: int = Field(42, description="decides order and dropout")
    micro_batch_size: int = Field(
        16, gt=0, description="sequences per forward pass of a process (the machine's; changes nothing but rounding)"
    )
    bf16: bool = Field(False, description="compute in bfloat16; what learns stays float32")
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="least time between checkpoints (the machine's); they take 5 % of the time at most"
    )

    def rate(self, step: int, total: int) -> float:
        """Learning rate of optimizer step `step` (0-based) of `total`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.scheduler == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class TrainMachineSettings(DeviceSettings):
    """What a training takes from the machine."""

    micro_batch_size: int = Field(4, gt=0, description="training: sequences per forward pass of a process")
    distributed: Strategy = Field("none", description="how the processes of a training share its work")
    processes: int = Field(1, gt=0, description="training: one per GPU")
    gradient_checkpointing: bool = Field(False, description="training: less memory, more time")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field("sdpa", description="kernel of the attention")

    @property
    def bf16(self) -> bool:
        """Compute in bfloat16."""
        return self.dtype == "bfloat16"

    @property
    def distribution(self) -> Distribution:
        """How the processes share the work, with DeepSpeed's configuration file for the ZeRO stages."""
        config = DEEPSPEED / f"{self.distributed}.json" if self.distributed.startswith("zero") else None
        return Distribution(self.distributed, config)


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
        out: Folder for ``loss.png`` and ``loss.csv``.
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
