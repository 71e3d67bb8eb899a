"""An unfinished training on disk: killed at any instant, it goes on from its last checkpoint and ends the same.

    work_root/<label>/lock
    work_root/<label>/unfinished/latest.json          what is trained, and how far it is
    work_root/<label>/unfinished/step-00000120/       weights.safetensors, optimizer-00000.pt …, sha256.json
    work_root/<label>/unfinished/best-<hash>.safetensors   the best validated weights, with early stop

A checkpoint counts once ``latest.json`` names it, which is written last. All have hashes: what a disk has damaged is
set aside with its reason, and the training starts over. A training with other settings, data or start weights than the
unfinished one is refused: it would neither continue that run nor equal a fresh one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.io.files import replacing, set_aside
from polite_flamingo.io.hashes import OTHER_BYTES, fingerprint, flaw, hash_file, seal
from polite_flamingo.io.locks import locked
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.train.feed import Position
from polite_flamingo.train.settings import Distribution, TrainSettings

if TYPE_CHECKING:
    import torch

    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.learner import Learner

LOG = logging.getLogger(__name__)
LATEST, WEIGHTS = "latest.json", "weights.safetensors"
BEST = "best-{}.safetensors"  # with the hash of its bytes
SEALED = "fingerprint"  # key of latest.json: of all others
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
        self._latest: dict[str, Any] = {}
        self._flaw: str | None = None

    def state(self) -> TrainingState | None:
        """How far the unfinished training is; None where there is none, or it is damaged.

        Raises:
            ModelError: it had other settings.
        """
        if not (self.folder / LATEST).is_file():
            return None
        self._flaw = self._check()
        if self._flaw is not None:
            return None
        latest = self._latest
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

    def clear(self, learner: Learner) -> None:
        """Set a damaged unfinished training aside; all processes together, after each has looked at `state`."""
        if self._flaw is not None:
            learner.wait()
            if learner.rank == 0:
                set_aside(self.folder, self._flaw)
            learner.wait()

    def restore(self, learner: Learner) -> None:
        """Put the latest checkpoint's weights and optimizer state into `learner`."""
        checkpoint = self.folder / self._latest["checkpoint"]
        try:
            learner.set_weights(self._load(checkpoint / WEIGHTS))
            learner.load_optimizer(checkpoint)
        except Exception as error:  # torch and safetensors raise many kinds for what they cannot read
            raise ModelError(
                "checkpoint cannot be read", value=str(error), where=checkpoint,
                next_step=f"discard it, the training then starts over: rm -r {self.folder}",
            ) from error  # fmt: skip

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
            seal(checkpoint)
            latest = {"identity": self._requested, "checkpoint": checkpoint.name, "progress": state.to_json()}
            write_json(self.folder / LATEST, {**latest, SEALED: fingerprint(latest)})
            for old in self.folder.glob("step-*"):
                if old != checkpoint:
                    shutil.rmtree(old, ignore_errors=True)

    def save_best(self, learner: Learner) -> None:
        """Keep the weights of now as the best ones; all processes together."""
        weights = learner.weights()
        if learner.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            unnamed = self.folder / "unnamed"
            self._store(weights, unnamed)
            best = self.folder / BEST.format(hash_file(unnamed))
            unnamed.replace(best)
            for old in self._best():
                if old != best:
                    old.unlink()
        learner.wait()

    def restore_best(self, learner: Learner) -> None:
        """Go back to the best weights.

        Raises:
            ModelError: a disk has damaged them.
        """
        best = self._best()
        if len(best) != 1 or BEST.format(hash_file(best[0])) != best[0].name:
            raise ModelError(
                "the best weights are not as they were written", where=self.folder,
                next_step="check the disk, then start again: the training starts over",
            )  # fmt: skip
        learner.set_weights(self._load(best[0]))

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self) -> str | None:
        """What is wrong with what lies there."""
        try:
            latest = read_json(self.folder / LATEST)
        except (DataError, OSError) as error:
            return str(error)
        known = {"identity", "checkpoint", "progress", SEALED}
        if not isinstance(latest, dict) or latest.keys() != known:
            return f"{LATEST} is not of this version"
        if latest.pop(SEALED) != fingerprint(latest) or "/" in latest["checkpoint"]:
            return f"{LATEST}: {OTHER_BYTES}"
        self._latest = latest
        if any(BEST.format(hash_file(path)) != path.name for path in self._best()):
            return f"the best weights: {OTHER_BYTES}"
        wrong = flaw(self.folder / latest["checkpoint"])
        return None if wrong is None else f"{latest['checkpoint']}: {wrong}"

    def _best(self) -> list[Path]:
        return sorted(self.folder.glob(BEST.format("*")))

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
