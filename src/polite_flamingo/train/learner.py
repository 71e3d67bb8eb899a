"""One optimizer step: dropout's seed, forward and backward over the micro-batches, update, a look at the numbers.

The model lies whole in every process: one alone, or several with copies (DDP). Accelerate places it, switches to
bfloat16 and joins the processes; one process on a CPU pays nothing for it. `train.sharded` is the same over DeepSpeed's
ZeRO. A loss or gradient that is no number ends the training, and what caused it is kept to be looked at.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polite_flamingo.errors import ModelError
from polite_flamingo.images import open_image
from polite_flamingo.io.text import write_json
from polite_flamingo.model.freezing import group_of
from polite_flamingo.train.group import join_processes, micro_batches, rank, world_size
from polite_flamingo.train.settings import TrainSettings

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.feed import Batch, Step

OPTIMIZER = "optimizer-{rank:05d}.pt"
DECAYED = ("xattn", "xattn_ff")


class Supervised(nn.Module):
    """What is wrapped for distribution: from token ids and images to the summed loss.

    Args:
        model: The model.
        tower: The vision tower where it learns: then images arrive as pixels instead of patch tokens.
    """

    def __init__(self, model: nn.Module, tower: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.tower = tower

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor,
        vision: torch.Tensor,
        image_index: torch.Tensor,
    ) -> torch.Tensor:
        """See `PoliteFlamingo.supervised_loss`; `vision` is patch tokens (N, v, d) or pixels (N, 3, H, W)."""
        tokens = vision if self.tower is None else self.tower(vision)
        model: Any = self.model
        return model.supervised_loss(input_ids, attention_mask, labels, tokens, image_index)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What an optimizer step came to.

    Args:
        loss: Mean loss (nats) per supervised token, over all processes.
        norm: Norm of its gradient before clipping.
        part_losses: Summed loss of every micro-batch of this process.
        checkpoint: Whether the first process wants a checkpoint now.
    """

    loss: float
    norm: float
    part_losses: tuple[torch.Tensor, ...]
    checkpoint: bool


class Learner:
    """Learns step by step, with a model that lies whole in every process.

    Args:
        bundle: The model.
        tensors: What learns, by name.
        settings: Of the training.
    """

    def __init__(self, bundle: FlamingoBundle, tensors: Mapping[str, nn.Parameter], settings: TrainSettings) -> None:
        self.bundle = bundle
        self.tensors = dict(tensors)
        self.settings = settings
        self.world, self.rank = world_size(), rank()
        self.parts = micro_batches(settings, self.world)
        join_processes(bundle.device)
        towers = {id(p) for p in bundle.tower.parameters()}
        self._tower_learns = any(id(p) in towers for p in tensors.values())
        self._lowered = _lower_frozen(bundle) if settings.bf16 and bundle.device.type == "cuda" else []
        if self._tower_learns:
            bundle.clear_cache()
        bundle.model.train()
        bundle.tower.eval()
        self.optimizer = torch.optim.AdamW(
            _groups(tensors, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.module = self._wrap(Supervised(bundle.model, bundle.tower if self._tower_learns else None))

    def _wrap(self, module: Supervised) -> Any:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state()  # a process may train twice with other settings
        self._accelerator = Accelerator(
            cpu=self.bundle.device.type == "cpu", mixed_precision="bf16" if self.settings.bf16 else "no"
        )
        return self._accelerator.prepare_model(module)

    def step(self, step: Step, number: int, rate: float, *, due: bool, image_root: Path) -> StepOutcome:
        """One optimizer step.

        Args:
            step: Its data.
            number: Number of the step, from 0; with the seed it decides dropout.
            rate: Learning rate.
            due: Whether this process finds that a checkpoint is due; the first one decides for all.
            image_root: Folder of the image paths.
        """
        torch.manual_seed(step_seed(self.settings.seed, number, self.rank))
        losses: list[torch.Tensor] = []
        for index, part in enumerate(step.parts):
            loss = self.loss(part, image_root, step.pixels)
            losses.append(loss.detach())
            self.backward(loss, step.supervised, last=index == len(step.parts) - 1)
        norm = self.update(rate)
        wish = torch.tensor(float(due and self.rank == 0), device=norm.device)
        summed = self.summed(torch.stack([torch.stack(losses).sum(), wish]))
        loss_sum, wishes, size = torch.cat([summed, norm.detach().reshape(1)]).tolist()
        return StepOutcome(loss_sum / step.supervised, size, tuple(losses), checkpoint=wishes > 0)

    def loss(self, batch: Batch, image_root: Path, pixels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Summed loss (nats) of a micro-batch."""
        device = self.bundle.device
        mask = batch.attention_mask
        return self.module(
            batch.input_ids.to(device),
            None if mask is None else mask.to(device),
            batch.labels.to(device),
            self._vision(batch, image_root, pixels),
            batch.image_index.to(device),
        )

    def _vision(self, batch: Batch, image_root: Path, pixels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from PIL import Image

        if not self._tower_learns:
            return self.bundle.encode_images(batch.images, image_root, pixels=pixels)
        prepare = self.bundle.image_processor
        images = [pixels[path] if path in pixels else prepare(open_image(image_root, path)) for path in batch.images]
        if not images:  # an image nobody attends to, so that every process uses the same weights
            images = [prepare(Image.new("RGB", (32, 32)))]
        return torch.stack(images).to(self.bundle.device, self.bundle.dtype)

    def backward(self, loss: torch.Tensor, supervised: int, *, last: bool) -> None:
        """Add the gradient of a micro-batch's summed loss, as its share of the mean over `supervised` tokens."""
        with nullcontext() if last or self.world == 1 else self.module.no_sync():
            (loss * (self.world / supervised)).backward()

    def update(self, rate: float) -> torch.Tensor:
        """Clip, step with learning rate `rate`, clear; returns the gradient's norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(list(self.tensors.values()), self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """`values` added up over the processes."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            torch.distributed.barrier()

    def weights(self) -> dict[str, torch.Tensor]:
        """What learns, whole, in float32; every process must ask."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put back what `weights` gave."""
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])

    def save_optimizer(self, folder: Path) -> None:
        """Write the optimizer's state: the first process here, every process its own shard where there are shards."""
        if self.rank == 0:
            torch.save(self.optimizer.state_dict(), folder / OPTIMIZER.format(rank=0))

    def load_optimizer(self, folder: Path) -> None:
        """Read what `save_optimizer` wrote."""
        path = folder / OPTIMIZER.format(rank=0)
        self.optimizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def close(self, *, failed: bool = False) -> None:
        """Leave the model in the bundle as it was found, with what it learned (after a failure: as far as it goes)."""
        self.bundle.model.eval()
        for parameter in self._lowered:
            parameter.data = parameter.data.float()
        if self._lowered:
            self.bundle.clear_cache()


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of dropout of a step in a process."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{rank}:dropout".encode()).digest()[:7])


@contextmanager
def deterministic() -> Iterator[None]:
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


def check_finite(outcome: StepOutcome, parts: Sequence[Batch], folder: Path, facts: Mapping[str, Any]) -> None:
    """Stop a training whose loss or gradient norm is not finite.

    Args:
        outcome: Of the step.
        parts: Its micro-batches of this process.
        folder: Gets ``bad_batch-step-N-rank-R/``: one ``.safetensors`` per micro-batch, and ``batch.json``.
        facts: What else is known, for the JSON file: step, rank, label, learning rate.

    Raises:
        ModelError: names the step, the samples and the folder.
    """
    if math.isfinite(outcome.loss) and math.isfinite(outcome.norm):
        return
    bad = [part for part, value in zip(parts, outcome.part_losses, strict=True) if not bool(torch.isfinite(value))]
    what = "loss" if not math.isfinite(outcome.loss) else "gradient"
    kept = save_batches(bad or parts, folder / f"bad_batch-step-{facts['step']}-rank-{facts['rank']}", facts)
    raise ModelError(
        f"the {what} is not finite at step {facts['step']}",
        value=[name for part in bad or parts for name in part.ids],
        where=f"{facts['label']}; the batch is kept in {kept}",
        next_step="lower the learning rate or look at these samples; "
        "with a changed setting, discard the unfinished training first",
    )


def save_batches(parts: Sequence[Batch], folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write micro-batches as safetensors, their ids and image paths as JSON; returns the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(parts):
        tensors = {"input_ids": part.input_ids, "labels": part.labels, "image_index": part.image_index}
        if part.attention_mask is not None:
            tensors["attention_mask"] = part.attention_mask
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{index}.safetensors")
    write_json(folder / "batch.json", {**facts, "parts": [{"ids": p.ids, "images": p.images} for p in parts]})
    return folder


def _groups(tensors: Mapping[str, nn.Parameter], weight_decay: float) -> Sequence[dict[str, Any]]:
    """What decays, the matrices of the cross-attention (as in the authors' training code), and what does not."""
    decay = [p for name, p in tensors.items() if p.ndim > 1 and group_of(name) in DECAYED]
    rest = [p for name, p in tensors.items() if p.ndim <= 1 or group_of(name) not in DECAYED]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _lower_frozen(bundle: FlamingoBundle) -> list[nn.Parameter]:
    """Keep frozen weights in bfloat16 on a GPU: half the memory, and no cast at every step."""
    lowered = [p for p in bundle.model.parameters() if not p.requires_grad and p.dtype == torch.float32]
    for parameter in lowered:
        parameter.data = parameter.data.bfloat16()
    bundle.clear_cache()
    return lowered
