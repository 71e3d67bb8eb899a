"""One plain training loop for the rewriter, the three stages and the connector (section 4.3, appendix A).

Accelerate places the model, switches to bfloat16 and joins processes; one process on a CPU pays nothing for it. The
order of the data is a pure function of (seed, epoch), dropout of (seed, step), so a run killed at any instant and
started again ends with the same weights. Checkpoints of optimizers sharded by DeepSpeed or FSDP are not written: such a
run starts over.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.io import locked
from polite_flamingo.model.freezing import trainable_tensors
from polite_flamingo.train.collate import Batch, Example, collate, epoch_batches

if TYPE_CHECKING:
    from polite_flamingo.model.flamingo import FlamingoBundle, PoliteFlamingo
    from polite_flamingo.tracking.base import Tracker

LOG = logging.getLogger(__name__)
Examples = Sequence[Example] | Callable[[int], Sequence[Example]]  # fixed, or drawn anew for every epoch
LOG_EVERY = 10  # steps per row sent to the tracker


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
        weight_decay: AdamW's.
        seed: Decides order and dropout.
        micro_batch_size: Sequences per forward pass of a process (the machine's; changes nothing but rounding).
        bf16: Autocast to bfloat16 (likewise).
        checkpoint_seconds: Time between checkpoints (likewise).
    """

    learning_rate: float
    epochs: float
    global_batch_size: int
    scheduler: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    seed: int = 42
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
class TrainResult:
    """What a training did.

    Args:
        losses: Mean loss per supervised token (nats) of every step.
        steps: Number of optimizer steps.
        tokens: Number of tokens seen, padding excluded.
        resumed_from: Step the run went on from, 0 for a fresh one.
        seconds: Wall-clock time of this process; never part of an output.
    """

    losses: tuple[float, ...]
    steps: int
    tokens: int
    resumed_from: int = 0
    seconds: float = 0.0

    @property
    def final_loss(self) -> float:
        """Mean loss of the last tenth of the steps."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(tail) / len(tail)


@dataclass
class _Progress:
    step: int = 0
    epoch: int = 0
    index: int = 0  # next batch within the epoch
    tokens: int = 0
    losses: list[float] = field(default_factory=list)


class _Supervised(nn.Module):
    """What accelerate wraps: the forward pass that yields the summed loss."""

    def __init__(self, model: PoliteFlamingo) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor,
        vision_tokens: torch.Tensor,
        image_index: torch.Tensor,
    ) -> torch.Tensor:
        return self.model.supervised_loss(input_ids, attention_mask, labels, vision_tokens, image_index)


def train(
    bundle: FlamingoBundle,
    examples: Examples,
    settings: TrainSettings,
    *,
    image_root: Path,
    out: Path,
    tracker: Tracker,
    label: str,
    work_root: Path = Path(".work"),
) -> TrainResult:
    """Train the weights that `model.freezing.set_trainable` chose, in place.

    Args:
        bundle: The model.
        examples: The sequences, or a function of the epoch that draws them.
        settings: See `TrainSettings`.
        image_root: Folder of the image paths.
        out: Folder for ``loss.png``.
        tracker: Receives loss and learning rate.
        label: Name on the bar, in the tracker and of the folder for unfinished work.
        work_root: Unfinished work lies in ``work_root/label/<fingerprint>``.

    Raises:
        DataError: no example, or one without a supervised token.
        ModelError: nothing is trainable, or the loss is not finite (the message names step and samples).
        BusyError: another process runs the same training.
    """
    tensors = trainable_tensors(bundle)
    if not tensors:
        raise ModelError("nothing to train", where=label, next_step="call set_trainable first")
    if bundle.dtype != torch.float32:
        raise ModelError(
            "training needs float32 weights",
            value=str(bundle.dtype),
            where=label,
            next_step="load the model in float32; TrainSettings.bf16 computes in bfloat16",
        )
    draw = examples if callable(examples) else lambda epoch: examples
    first = draw(0)
    if not first:
        raise DataError("no example to train on", where=label, next_step="look at the stage before")
    total = max(1, round(settings.epochs * len(first) / settings.global_batch_size))
    folder = work_root / label / _fingerprint(bundle, tensors, first, settings, total)
    started = time.monotonic()
    with _deterministic(), _single_writer(folder), torch.random.fork_rng():
        try:
            progress, resumed = _run(bundle, tensors, draw, settings, total, folder, image_root, tracker, label)
        finally:
            bundle.model.eval()
    seconds = time.monotonic() - started
    if _rank() == 0:
        LOG.info("%s: %d steps, %d tokens in %.1f s", label, progress.step, progress.tokens, seconds)
        _plot(progress.losses, out / "loss.png", label)
        tracker.artifact(out / "loss.png")
        shutil.rmtree(folder, ignore_errors=True)
    return TrainResult(tuple(progress.losses), progress.step, progress.tokens, resumed, seconds)


@torch.no_grad()
def mean_loss(bundle: FlamingoBundle, examples: Sequence[Example], *, image_root: Path, batch_size: int = 16) -> float:
    """Mean loss per supervised token (nats) on `examples`, without training."""
    total, count = 0.0, 0
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    for start in range(0, len(order), batch_size):
        batch = collate([examples[i] for i in order[start : start + batch_size]], bundle.tokenizer.pad_token_id)
        total += float(bundle.model.supervised_loss(*_inputs(bundle, batch, image_root)))
        count += batch.supervised
    return total / max(1, count)


def _run(
    bundle: FlamingoBundle,
    tensors: dict[str, nn.Parameter],
    draw: Callable[[int], Sequence[Example]],
    settings: TrainSettings,
    total: int,
    folder: Path,
    image_root: Path,
    tracker: Tracker,
    label: str,
) -> tuple[_Progress, int]:
    from tqdm import tqdm

    world = int(os.environ.get("WORLD_SIZE", "1"))
    parts = -(-settings.global_batch_size // (world * settings.micro_batch_size))
    if settings.global_batch_size < world * parts:
        raise ModelError(
            "the global batch is smaller than the number of processes",
            value=settings.global_batch_size,
            where=f"{world} processes",
        )
    accelerator = _accelerator(bundle, settings, parts, world)
    sharded = str(accelerator.distributed_type).endswith(("DEEPSPEED", "FSDP"))
    decay = [p for p in tensors.values() if p.ndim > 1]
    rest = [p for p in tensors.values() if p.ndim <= 1]
    raw_optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        fused=True,
    )
    progress = _Progress()
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file() and not sharded:
        progress = _restore(checkpoint, tensors, raw_optimizer)
        LOG.info("%s: going on from step %d", label, progress.step)
    resumed = progress.step
    bundle.model.train()
    bundle.tower.eval()
    model, optimizer = accelerator.prepare(_Supervised(bundle.model), raw_optimizer)
    parameters = list(tensors.values())
    written = time.monotonic()
    rows: list[tuple[float, float]] = []
    quiet = _rank() != 0
    with tqdm(total=total, initial=progress.step, desc=label, unit="step", mininterval=1.0, disable=quiet) as bar:
        while progress.step < total:
            pool = draw(progress.epoch)
            batches = epoch_batches(
                [len(e) for e in pool], settings.global_batch_size, seed=settings.seed, epoch=progress.epoch
            )
            if not batches:
                raise DataError("an epoch has no example", value=progress.epoch, where=label)
            while progress.index < len(batches) and progress.step < total:
                chosen = [pool[i] for i in batches[progress.index]]
                torch.manual_seed(_step_seed(settings.seed, progress.step, _rank()))
                rate = settings.rate(progress.step, total)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                supervised = sum(example.supervised for example in chosen)
                if supervised == 0:
                    raise DataError("a batch has no token to learn", value=[e.id for e in chosen][:5], where=label)
                micro = _split(chosen, world * parts)[accelerator.process_index :: world]
                losses: list[torch.Tensor] = []
                for part in micro:
                    batch = collate(part, bundle.tokenizer.pad_token_id)
                    with accelerator.accumulate(model):
                        loss = model(*_inputs(bundle, batch, image_root))
                        losses.append(loss.detach())
                        accelerator.backward(loss * (parts * world / supervised))
                        if accelerator.sync_gradients:
                            _check_finite(losses, micro, progress.step, label)
                            accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
                        optimizer.step()
                        optimizer.zero_grad()
                summed = torch.stack(losses).sum()
                if world > 1:
                    summed = accelerator.reduce(summed, reduction="sum")
                progress.losses.append(float(summed) / supervised)
                progress.tokens += sum(len(example) for example in chosen)
                progress.step += 1
                progress.index += 1
                rows.append((progress.losses[-1], rate))
                if len(rows) == LOG_EVERY or progress.step == total:
                    if _rank() == 0:
                        mean = sum(row[0] for row in rows) / len(rows)
                        tracker.metrics({f"{label}/loss": mean, f"{label}/learning_rate": rate}, step=progress.step)
                    rows.clear()
                bar.update(1)
                bar.set_postfix(loss=f"{progress.losses[-1]:.3f}", refresh=False)
                if time.monotonic() - written > settings.checkpoint_seconds and _rank() == 0 and not sharded:
                    _save(checkpoint, progress, tensors, raw_optimizer)
                    written = time.monotonic()
            if progress.index >= len(batches):
                progress.epoch += 1
                progress.index = 0
    accelerator.free_memory()
    return progress, resumed


def _inputs(bundle: FlamingoBundle, batch: Batch, image_root: Path) -> tuple[Any, ...]:
    device = bundle.device
    return (
        batch.input_ids.to(device),
        None if batch.attention_mask is None else batch.attention_mask.to(device),
        batch.labels.to(device),
        bundle.encode_images(batch.images, image_root),
        batch.image_index.to(device),
    )


def _accelerator(bundle: FlamingoBundle, settings: TrainSettings, parts: int, world: int) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    on_cpu = bundle.device.type == "cpu"
    if world == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # a process may train twice with other settings
    PartialState(cpu=on_cpu)
    accelerator = Accelerator(
        cpu=on_cpu, mixed_precision="bf16" if settings.bf16 else "no", gradient_accumulation_steps=parts
    )
    if accelerator.num_processes != world:
        raise ModelError(
            "accelerate sees another number of processes than the launcher started",
            value=accelerator.num_processes,
            where=f"WORLD_SIZE={world}",
            next_step="launch with `accelerate launch` or `python -m torch.distributed.run`",
        )
    return accelerator


def _split(items: Sequence[Example], parts: int) -> list[list[Example]]:
    """Cut into `parts` runs whose lengths differ by one at most."""
    base, more = divmod(len(items), parts)
    cuts = [0]
    for index in range(parts):
        cuts.append(cuts[-1] + base + (index < more))
    return [list(items[a:b]) for a, b in pairwise(cuts)]


def _check_finite(losses: Sequence[torch.Tensor], micro: Sequence[Sequence[Example]], step: int, label: str) -> None:
    if bool(torch.isfinite(torch.stack(list(losses))).all()):
        return
    bad = [e.id for loss, part in zip(losses, micro, strict=False) if not bool(torch.isfinite(loss)) for e in part]
    raise ModelError(
        f"the loss is not finite at step {step}",
        value=bad,
        where=label,
        next_step="lower the learning rate or look at these samples",
    )


def _fingerprint(
    bundle: FlamingoBundle,
    tensors: dict[str, nn.Parameter],
    examples: Sequence[Example],
    settings: TrainSettings,
    total: int,
) -> str:
    digest = hashlib.sha256()
    machine = {"micro_batch_size", "bf16", "checkpoint_seconds"}
    digest.update(repr(sorted((k, v) for k, v in asdict(settings).items() if k not in machine)).encode())
    digest.update(f"{bundle.base_hash}:{total}:{len(examples)}".encode())
    for example in examples:
        digest.update(repr((example.id, example.input_ids, example.labels, example.images)).encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{rank}:dropout".encode()).digest()[:7])


def _save(path: Path, progress: _Progress, tensors: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.tmp")
    weights = {name: tensor.detach() for name, tensor in tensors.items()}
    with open(tmp, "wb") as file:
        torch.save({"progress": asdict(progress), "weights": weights, "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(tmp, path)


def _restore(path: Path, tensors: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> _Progress:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(
            "checkpoint cannot be read",
            value=str(error),
            where=path,
            next_step="delete it; the training then starts over",
        ) from error
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    return _Progress(**state["progress"])


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _single_writer(folder: Path) -> Iterator[None]:
    if _rank() != 0:
        yield
        return
    with locked(folder.parent / "lock", where=folder):
        yield


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic kernels where PyTorch has them."""
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        memory.fill_uninitialized_memory = fill


def _plot(losses: Sequence[float], path: Path, label: str) -> None:
    """Loss over steps with its running mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6, 3.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    window = max(1, len(losses) // 20)
    runs = [losses[max(0, i - window + 1) : i + 1] for i in range(len(losses))]
    smooth = [sum(run) / len(run) for run in runs]
    axes.plot(range(1, len(losses) + 1), losses, color="#9ecae1", linewidth=0.8, label="per step")
    axes.plot(range(1, len(losses) + 1), smooth, color="#08519c", label=f"mean of {window}")
    axes.set(xlabel="optimizer step", ylabel="loss per token (nats)", title=label)
    axes.legend(frameon=False)
    figure.savefig(path)
