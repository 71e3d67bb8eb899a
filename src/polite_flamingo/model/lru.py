"""A bounded store of tensors."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class LruTensors:
    """Tensors by name, the least recently used dropped first."""

    def __init__(self) -> None:
        self.size = 0  # bytes
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        """True while the tensor is kept."""
        return key in self._kept

    @property
    def names(self) -> list[str]:
        """What is kept, the least recently used first."""
        return list(self._kept)

    def get(self, key: str) -> torch.Tensor | None:
        """The tensor, now the most recently used; None if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, tensor: torch.Tensor, limit: int) -> None:
        """Keep a copy, and no more than `limit` bytes in all; a tensor that alone exceeds it is not kept."""
        row = tensor.detach().clone()
        if row.nbytes > limit:
            return
        old = self._kept.pop(key, None)
        self.size += row.nbytes - (0 if old is None else old.nbytes)
        self._kept[key] = row
        while self.size > limit:
            self.size -= self._kept.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.size = 0
