"""What makes a training repeat to the last bit: dropout from (seed, step, process), deterministic kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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
