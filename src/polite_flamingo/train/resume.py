"""An unfinished training on disk: killed at any instant, it goes on from its last checkpoint and ends the same.

    work_root/<label>/lock
    work_root/<label>/unfinished/latest.json          what is trained, and how far it is
    work_root/<label>/unfinished/step-00000120/       weights.safetensors, optimizer-00000.pt …
    work_root/<label>/unfinished/best.safetensors     the best validated weights, with early stop

A checkpoint counts once ``latest.json`` names it, which is written last. A training with other settings, data or start
weights than the unfinished one is refused: it would neither continue that run nor equal a fresh one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.io import locked, read_json, replacing, write_json
from polite_flamingo.train.feed import Position
from polite_flamingo.train.settings import Distribution, TrainSettings

if TYPE_CHECKING:
    import torch

    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.learner import Learner

LOG = logging.getLogger(__name__)
LATEST, WEIGHTS, BEST = "latest.json", "weights.safetensors", "best.safetensors"
CHECKPOINT_SHARE = 0.05  # of the time, at most
MACHINE = ("micro_batch_size", "checkpoint_seconds")  # may change within a run: rounding apart, the result stays


@dataclass
class TrainingState:
    """How far a training is."""

    step: int = 0
    position: Position = field(default_factory=Position)
    tokens: int = 0
    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best validation so far, the first of equals."""
        return min(self.validation, key=lambda measured: (measured[1], measured[0]), default=(0, float("inf")))

    def has_stalled(self, patience: int) -> bool:
        """True once the last `patience` validations brought no better loss; never with patience 0."""
        if not patience:
            return False
        steps = [step for step, _ in self.validation]
        best, _ = self.best
        return best in steps and len(steps) - 1 - steps.index(best) >= patience

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; floats survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingState:
        """Back from `to_json`."""
        return cls(
            values["step"],
            Position(**values["position"]),
            values["tokens"],
            list(values["losses"]),
            [(step, loss) for step, loss in values["validation"]],
        )


def identity(
    settings: TrainSettings,
    distribution: Distribution,
    *,
    bundle: FlamingoBundle,
    tensors: Mapping[str, torch.nn.Parameter],
    data: str,
    validation: str | None,
    steps: int,
    world: int,
) -> dict[str, Any]:
    """Everything that decides the result of a training, by readable names."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return {
        **{name: value for name, value in settings.model_dump().items() if name not in MACHINE},
        "strategy": distribution.strategy,
        "processes": world,
        "base model": bundle.base_hash,
        "resolution": bundle.resolution,
        "quantized": bundle.quantized,
        "lora": None if bundle.lora is None else bundle.lora.model_dump(),
        "start weights": digest.hexdigest()[:24],
        "data": data,
        "validation data": validation,
        "steps": steps,
    }


class CheckpointClock:
    """Says when a checkpoint is due; a context manager around writing one.

    Args:
        seconds: Least time between two; longer where writing takes more than `CHECKPOINT_SHARE` of the time. 0: always.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = self._interval = seconds
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """True when the last checkpoint is old enough."""
        return time.monotonic() - self._written > self._interval

    def __enter__(self) -> None:
        """Writing begins."""
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Writing has ended."""
        self._written = time.monotonic()
        if self._seconds:
            self._interval = max(self._seconds, (self._written - self._began) / CHECKPOINT_SHARE)


class Unfinished:
    """The folder of an unfinished training.

    Args:
        folder: ``work_root/label/unfinished``.
        requested: What is to be trained now (`identity`).
    """

    def __init__(self, folder: Path, requested: Mapping[str, Any]) -> None:
        self.folder = folder
        self._requested = json.loads(json.dumps(requested, default=str))  # as it is read back

    def state(self) -> TrainingState | None:
        """How far the unfinished training is; None where there is none.

        Raises:
            ModelError: it had other settings, or cannot be read.
        """
        latest = self._latest()
        if latest is None:
            return None
        begun, requested = latest["identity"], self._requested
        keys = [*requested, *(key for key in begun if key not in requested)]
        other = {k: (begun.get(k), requested.get(k)) for k in keys if begun.get(k) != requested.get(k)}
        if other:
            raise ModelError(
                f"an unfinished training (at step {latest['progress']['step']} of {begun['steps']}) was started "
                "otherwise; it does not go on with a change",
                value={key: f"{before} -> {now}" for key, (before, now) in other.items()},
                where=self.folder,
                next_step=f"undo the change to go on with it, or discard it: rm -r {self.folder}",
            )
        return TrainingState.from_json(latest["progress"])

    def restore(self, learner: Learner) -> None:
        """Put the latest checkpoint's weights and optimizer state into `learner`."""
        latest = self._latest()
        assert latest is not None
        checkpoint = self.folder / latest["checkpoint"]
        try:
            learner.set_weights(self._load(checkpoint / WEIGHTS))
            learner.load_optimizer(checkpoint)
        except Exception as error:  # torch and safetensors raise many kinds for a damaged file
            raise self._broken(checkpoint, error) from error

    def save(self, learner: Learner, state: TrainingState) -> None:
        """Write a checkpoint; all processes together."""
        checkpoint = self.folder / f"step-{state.step:08d}"
        weights = learner.weights()
        if learner.rank == 0:
            shutil.rmtree(checkpoint, ignore_errors=True)
            checkpoint.mkdir(parents=True)
            self._store(weights, checkpoint / WEIGHTS)
        learner.wait()
        learner.save_optimizer(checkpoint)
        learner.wait()
        if learner.rank == 0:
            for path in checkpoint.iterdir():
                _sync(path)
            write_json(
                self.folder / LATEST,
                {"identity": self._requested, "checkpoint": checkpoint.name, "progress": state.to_json()},
            )
            for old in self.folder.glob("step-*"):
                if old != checkpoint:
                    shutil.rmtree(old, ignore_errors=True)

    def save_best(self, learner: Learner) -> None:
        """Keep the weights of now as the best ones; all processes together."""
        weights = learner.weights()
        if learner.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._store(weights, self.folder / BEST)
        learner.wait()

    def restore_best(self, learner: Learner) -> None:
        """Go back to the best weights."""
        learner.set_weights(self._load(self.folder / BEST))

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _latest(self) -> dict[str, Any] | None:
        path = self.folder / LATEST
        if not path.is_file():
            return None
        try:
            latest: dict[str, Any] = read_json(path)
        except DataError as error:
            raise self._broken(path, error) from error
        if not {"identity", "checkpoint", "progress"} <= latest.keys() or "/" in latest["checkpoint"]:
            raise self._broken(path, ValueError("not a checkpoint of this program"))
        return latest

    def _broken(self, path: Path, error: Exception) -> ModelError:
        return ModelError(
            "checkpoint cannot be read",
            value=str(error),
            where=path,
            next_step=f"discard it, the training then starts over: rm -r {self.folder}",
        )

    @staticmethod
    def _load(path: Path) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        return load_file(path)

    @staticmethod
    def _store(weights: Mapping[str, torch.Tensor], path: Path) -> None:
        from safetensors.torch import save_file

        with replacing(path) as tmp:
            save_file({name: value.cpu().contiguous() for name, value in weights.items()}, tmp)


@contextmanager
def single_writer(folder: Path, rank: int) -> Iterator[None]:
    """Hold the training's lock in its first process.

    Raises:
        BusyError: another run holds it.
    """
    if rank != 0:
        yield
        return
    with locked(folder / "lock", where=folder):
        yield


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
