"""One optimizer step with DeepSpeed's ZeRO: the optimizer's state, the gradients or the weights lie in shards.

Checkpoints are this project's own (tensors only, nothing is unpickled): the weights that learn once, as safetensors,
and every process's shard of the float32 copy and of AdamW's moments.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polite_flamingo.errors import ModelError
from polite_flamingo.io.text import read_json
from polite_flamingo.train.learner import OPTIMIZER, Learner, Supervised
from polite_flamingo.train.settings import Distribution, TrainSettings

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle


class ShardedLearner(Learner):
    """See `Learner`.

    Args:
        bundle: The model.
        tensors: What learns, by name.
        settings: Of the training.
        distribution: Names the ZeRO stage and DeepSpeed's configuration file.
    """

    def __init__(
        self,
        bundle: FlamingoBundle,
        tensors: Mapping[str, nn.Parameter],
        settings: TrainSettings,
        distribution: Distribution,
    ) -> None:
        self._distribution = distribution
        self._tower: nn.Module | None = None
        self._assigned: dict[str, torch.Tensor] | None = None  # what `set_weights` put in, until the next update
        super().__init__(bundle, tensors, settings)

    def _wrap(self, module: Supervised) -> Any:
        if self.bundle.device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        warnings.filterwarnings("ignore", message=r"`torch\.distributed\.", category=FutureWarning)  # DeepSpeed's calls
        import deepspeed

        if not self._tower_learns:  # a frozen tower encodes outside: it is neither sharded nor cast
            self._tower = self.bundle.model._modules.pop("vision_encoder")
        self._attributes = {parameter: dict(parameter.__dict__) for parameter in module.parameters()}
        engine, _, _, _ = deepspeed.initialize(
            model=module, optimizer=self.optimizer, config=self._config(), dist_init_required=False
        )
        self._zero = engine.optimizer
        self._stage = engine.zero_optimization_stage()
        return engine

    def _config(self) -> dict[str, Any]:
        path = self._distribution.config
        if path is None:
            raise ModelError("DeepSpeed needs its configuration file", value=self._distribution.strategy)
        config = read_json(path)
        stage = config.get("zero_optimization", {}).get("stage")
        if f"zero{stage}" != self._distribution.strategy:
            raise ModelError(
                "the DeepSpeed configuration is of another stage",
                value=stage,
                where=path,
                next_step=f"zero_optimization.stage must fit {self._distribution.strategy}",
            )
        return {
            **config,
            "train_micro_batch_size_per_gpu": self.settings.micro_batch_size,
            "gradient_accumulation_steps": self.parts,
            "gradient_clipping": self.settings.max_grad_norm,
            "bf16": {"enabled": self.settings.bf16},
        }

    def _vision(self, batch: Any, image_root: Path, pixels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        vision = super()._vision(batch, image_root, pixels)
        return vision.bfloat16() if self.settings.bf16 else vision

    def backward(self, loss: torch.Tensor, supervised: int, *, last: bool) -> None:
        """See `Learner`; DeepSpeed divides by micro-batches and processes."""
        self.module.set_gradient_accumulation_boundary(last)
        self.module.backward(loss * (self.parts * self.world / supervised))
        if not last:
            self.module.step()  # counts the micro-batch

    def update(self, rate: float) -> torch.Tensor:
        """See `Learner`."""
        self._assigned = None
        for group in self._zero.param_groups:
            group["lr"] = rate
        self.module.step()
        return torch.as_tensor(self.module.get_global_grad_norm(), device=self.bundle.device, dtype=torch.float32)

    def weights(self) -> dict[str, torch.Tensor]:
        """See `Learner`."""
        if self._assigned is not None:
            return dict(self._assigned)
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(tensor).detach().cpu().clone() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`; sets what is computed with. To train on, load the shards of the float32 copy too."""
        import deepspeed

        for name, tensor in self.tensors.items():
            with deepspeed.zero.GatheredParameters([tensor], modifier_rank=0, enabled=self._stage == 3):
                tensor.data.copy_(weights[name])
        self._assigned = dict(weights)

    def _shards(self) -> list[torch.Tensor]:
        name = "fp32_partitioned_groups_flat" if self._stage == 3 else "single_partition_of_fp32_groups"
        return list(getattr(self._zero, name))

    def save_optimizer(self, folder: Path) -> None:
        """See `Learner`."""
        state = self._zero.optimizer.state
        shards = [{"weights": shard.detach(), **state[shard]} for shard in self._shards()]
        torch.save(shards, folder / OPTIMIZER.format(rank=self.rank))

    @torch.no_grad()
    def load_optimizer(self, folder: Path) -> None:
        """See `Learner`."""
        saved = torch.load(folder / OPTIMIZER.format(rank=self.rank), map_location="cpu", weights_only=True)
        for shard, kept in zip(self._shards(), saved, strict=True):
            shard.copy_(kept.pop("weights"))
            moved = {key: value if key == "step" else value.to(shard.device) for key, value in kept.items()}
            self._zero.optimizer.state[shard] = moved

    def close(self, *, failed: bool = False) -> None:
        """See `Learner`; the bundle gets whole float32 weights back, and nothing of DeepSpeed stays on them."""
        if not failed:  # else other processes are elsewhere, and waiting for them would hide what happened
            self._put_together()
        if self._tower is not None:
            self.bundle.model._modules["vision_encoder"] = self._tower
        super().close(failed=failed)

    def _put_together(self) -> None:
        learned = self.weights()
        parameters = list(self._attributes)
        if self._stage == 3:
            for parameter in parameters:
                gather: Any = parameter
                gather.all_gather()
        module = self.module.module
        self.module.destroy()
        for parameter in parameters:
            value = parameter.data.detach()
            parameter.data = value.float().clone() if value.is_floating_point() else value.clone()
            parameter.grad = None
            parameter.__dict__.clear()
            parameter.__dict__.update(self._attributes[parameter])
        for part in module.modules():
            if "_original_parameters" in part.__dict__:
                part._parameters = part.__dict__.pop("_original_parameters")
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(learned[name])
