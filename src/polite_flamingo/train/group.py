"""The processes that share a training: who they are, how they join and part."""

from __future__ import annotations

import os

import torch

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError
from polite_flamingo.train.settings import TrainSettings


def world_size() -> int:
    """Number of processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return int(os.environ.get("RANK", "0"))


def leave_processes() -> bool:
    """End the work shared with other processes; True in the first one, which goes on alone."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return rank() == 0


def join_processes(device: str | torch.device) -> None:
    """Join the other processes of a launch, if there are any, each with a GPU of its own; before a model is loaded.

    Args:
        device: As in `load_flamingo`.

    Raises:
        ModelError: accelerate sees another number of processes than the launcher started.
    """
    from accelerate.state import PartialState

    world = world_size()
    if world == 1:
        PartialState._reset_state()  # of an earlier training on another device
    state = PartialState(cpu=pick_device(str(device)) == "cpu")
    if state.num_processes != world:
        raise ModelError(
            "accelerate sees another number of processes than the launcher started",
            value=state.num_processes,
            where=f"WORLD_SIZE={world}",
            next_step="launch with `accelerate launch` or `python -m torch.distributed.run`",
        )


def micro_batches(settings: TrainSettings, world: int) -> int:
    """Micro-batches of a process per step.

    Raises:
        ModelError: there are too few sequences for so many processes.
    """
    parts = -(-settings.global_batch_size // (world * settings.micro_batch_size))
    if settings.global_batch_size < world * parts:
        raise ModelError(
            "the global batch leaves a process without a sequence",
            value=settings.global_batch_size,
            where=f"{world} processes with micro-batches of {settings.micro_batch_size}",
            next_step="choose a multiple of processes x micro-batch, or fewer processes",
        )
    return parts
