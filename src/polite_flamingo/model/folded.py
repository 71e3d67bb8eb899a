"""LoRA on a narrow layer, computed through the sum of its weights.

PEFT adds two products of the layer's input, ``W x + s B (A x)``. Where the rank is not small beside the layer (rank 64
in a model 128 wide) one product with ``W + s B A`` is the same function, up to rounding, for two thirds of the work;
in a model of billions it would be more work, and PEFT's own way is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn import functional

ADAPTER = "default"


class FoldedLora(Linear):
    """PEFT's adapter of a linear layer; the same tensors, names and function."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Features (..., out) of `x` (..., in)."""
        if self.merged or self.disable_adapters or args or kwargs or not self._pays(x):
            return super().forward(x, *args, **kwargs)
        down, up = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        weight = torch.addmm(self.base_layer.weight, up, down, alpha=self.scaling[ADAPTER])
        return functional.linear(x, weight, self.base_layer.bias)

    def _pays(self, x: torch.Tensor) -> bool:
        """Whether folding is exact and less work, forward and backward, for many rows of `x`."""
        weight, down = self.base_layer.weight, self.lora_A[ADAPTER].weight
        whole = not hasattr(down, "ds_id")  # ZeRO-3 gathers what a layer needs when that layer itself is called
        plain = weight.dtype == down.dtype == x.dtype == torch.float32  # a sum in bfloat16 would lose small adapters
        sure = isinstance(self.lora_dropout[ADAPTER], nn.Identity)
        if not (whole and plain and sure) or torch.is_autocast_enabled(x.device.type):
            return False
        return weight.numel() < 3 * len(down) * sum(weight.shape)
