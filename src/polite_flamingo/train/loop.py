"""One plain training loop for the rewriter, the three stages and the connector (section 4.3, appendix A).

The order of the data is a pure function of (seed, epoch), dropout of (seed, step, process), so a run killed at any
instant and started again goes on with the same losses to the same weights (`train.resume`). One process, DDP and
DeepSpeed's ZeRO share this loop; they differ in their engine (`train.engine`, `train.sharded`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.model.freezing import trainable_tensors
from polite_flamingo.train.collate import Example
from polite_flamingo.train.data import TrainingData, as_training_data
from polite_flamingo.train.determinism import deterministic, step_seed
from polite_flamingo.train.engine import Engine, open_engine
from polite_flamingo.train.feed import Feed, Step
from polite_flamingo.train.group import micro_batches, rank, world_size
from polite_flamingo.train.guard import check_finite
from polite_flamingo.train.meter import Meter
from polite_flamingo.train.plots import plot_losses
from polite_flamingo.train.resume import Progress, Unfinished, identity, single_writer
from polite_flamingo.train.settings import Distribution, TrainResult, TrainSettings
from polite_flamingo.train.validation import has_stalled, mean_loss, validation_loss

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.tracking.base import Tracker

__all__ = ["Distribution", "TrainResult", "TrainSettings", "mean_loss", "train"]

LOG = logging.getLogger(__name__)
CHECKPOINT_SHARE = 0.05  # of the time, at most


def train(
    bundle: FlamingoBundle,
    examples: Sequence[Example] | TrainingData,
    settings: TrainSettings,
    *,
    image_root: Path,
    out: Path,
    tracker: Tracker,
    label: str,
    validation: Sequence[Example] = (),
    distribution: Distribution = Distribution(),  # noqa: B008  frozen
    work_root: Path = Path(".work"),
) -> TrainResult:
    """Train the weights that `model.freezing.set_trainable` chose, in place.

    Args:
        bundle: The model.
        examples: The sequences, or what draws them for every epoch.
        settings: See `TrainSettings`.
        image_root: Folder of the image paths.
        out: Folder for ``loss.png``.
        tracker: Receives what `train.meter.Meter` lists, and the validation losses.
        label: Name on the bar, in the tracker and of the folder for unfinished work.
        validation: Sequences for ``settings.validate_every``.
        distribution: How the processes a launcher started share the work.
        work_root: Unfinished work lies in ``work_root/label`` (`train.resume`).

    Raises:
        DataError: no example, a batch without a supervised token, or a broken image.
        ModelError: nothing is trainable, the loss is not finite (the message names step, samples and where the batch
            is kept), or an unfinished training in the folder had other settings.
        BusyError: another process runs the same training.
    """
    tensors = trainable_tensors(bundle)
    if not tensors:
        raise ModelError("nothing to train", where=label, next_step="call set_trainable first")
    kinds = {tensor.dtype for tensor in tensors.values()}
    if kinds != {torch.float32}:
        raise ModelError(
            "what learns must be float32",
            value=sorted(map(str, kinds)),
            where=label,
            next_step="load the model in float32; TrainSettings.bf16 computes in bfloat16",
        )
    if settings.validate_every and not validation:
        raise DataError("no example to validate with", where=label, next_step="hold a greater share out")
    data = as_training_data(examples)
    count = len(data.epoch(0))
    if not count:
        raise DataError("no example to train on", where=label, next_step="look at the stage before")
    micro_batches(settings, world_size())  # before anything is loaded
    total = max(1, round(settings.epochs * count / settings.global_batch_size))
    folder = work_root / label
    wanted = identity(
        settings,
        distribution,
        bundle=bundle,
        tensors=tensors,
        data=data.identity,
        validation=as_training_data(validation).identity if settings.validate_every else None,
        steps=total,
        world=world_size(),
    )
    training = _Training(bundle, data, settings, total, image_root, folder, label, validation)
    started = time.monotonic()
    with deterministic(), single_writer(folder, rank()), torch.random.fork_rng():
        unfinished = Unfinished(folder / "unfinished", wanted)
        found = unfinished.progress()
        engine = open_engine(bundle, tensors, settings, distribution)
        try:
            result = training.run(engine, unfinished, found, tracker)
        except BaseException:
            engine.close(failed=True)
            raise
        engine.close()
        if engine.rank == 0:
            LOG.info(
                "%s: %d steps, %d tokens in %.1f s", label, result.steps, result.tokens, time.monotonic() - started
            )
            plot_losses(result.losses, out / "loss.png", label, result.validation)
            tracker.artifact(out / "loss.png")
            unfinished.discard()
    return result


@dataclass
class _Training:
    bundle: FlamingoBundle
    data: TrainingData
    settings: TrainSettings
    total: int
    image_root: Path
    folder: Path
    label: str
    validation: Sequence[Example]

    def run(self, engine: Engine, unfinished: Unfinished, found: Progress | None, tracker: Tracker) -> TrainResult:
        from tqdm import tqdm

        settings, started = self.settings, time.monotonic()
        progress = found or Progress()
        if found is not None:
            unfinished.restore(engine)
            LOG.info("%s: going on from step %d", self.label, found.step)
        resumed = progress.step
        feed = Feed(
            self.data,
            self.bundle,
            batch_size=settings.global_batch_size,
            parts=engine.parts,
            seed=settings.seed,
            image_root=self.image_root,
            start=progress.place,
            steps=0 if has_stalled(progress, settings.patience) else self.total - progress.step,
            rank=engine.rank,
            world=engine.world,
        )
        meter = Meter(tracker, self.label, quiet=engine.rank != 0)
        clock = _Clock(settings.checkpoint_seconds)
        with tqdm(
            total=self.total, initial=resumed, desc=self.label, unit="step", mininterval=1.0, disable=engine.rank != 0
        ) as bar:
            for step in feed:
                rate = settings.rate(progress.step, self.total)
                loss, norm, due = self._step(engine, step, progress.step, rate, clock.is_due())
                progress.losses.append(loss)
                progress.tokens += step.tokens
                progress.step += 1
                progress.place = step.after
                last = progress.step == self.total
                meter.add(loss, norm, step.tokens, step.parts)
                meter.report(progress.step, rate, feed.waited, last=last)
                bar.update(1)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                pause = time.monotonic()
                if settings.validate_every and (progress.step % settings.validate_every == 0 or last):
                    self._validate(engine, unfinished, progress, meter)
                if due:
                    with clock:
                        unfinished.save(engine, progress)
                meter.pause += time.monotonic() - pause
                if has_stalled(progress, settings.patience):
                    LOG.info("%s: stopped at step %d, no better validation since", self.label, progress.step)
                    break
        best = progress.best[0] if settings.patience and progress.validation else progress.step
        if best != progress.step:
            unfinished.restore_best(engine)
        seconds = time.monotonic() - started
        return TrainResult(
            tuple(progress.losses),
            progress.step,
            progress.tokens,
            validation=tuple(progress.validation),
            best_step=best,
            resumed_from=resumed,
            seconds=seconds,
            waiting_share=feed.waited / max(1e-9, seconds - meter.pause),
            useful_share=meter.real / max(1, meter.computed),
        )

    def _step(self, engine: Engine, step: Step, number: int, rate: float, due: bool) -> tuple[float, float, bool]:
        """One optimizer step: mean loss, norm of the gradient, and whether the first process wants a checkpoint."""
        torch.manual_seed(step_seed(self.settings.seed, number, engine.rank))
        losses: list[torch.Tensor] = []
        for index, part in enumerate(step.parts):
            loss = engine.loss(part, self.image_root, step.pixels)
            losses.append(loss.detach())
            engine.backward(loss, step.supervised, last=index == len(step.parts) - 1)
        norm = engine.update(rate)
        wish = torch.tensor(float(due and engine.rank == 0), device=norm.device)
        summed = engine.summed(torch.stack([torch.stack(losses).sum(), wish]))
        loss_sum, asked, size = torch.cat([summed, norm.detach().reshape(1)]).tolist()
        mean = loss_sum / step.supervised
        check_finite(
            mean,
            size,
            step=number,
            parts=step.parts,
            losses=losses,
            folder=self.folder,
            facts={"label": self.label, "rank": engine.rank, "learning_rate": rate},
        )
        return mean, size, asked > 0

    def _validate(self, engine: Engine, unfinished: Unfinished, progress: Progress, meter: Meter) -> None:
        loss = validation_loss(engine, self.validation, image_root=self.image_root)
        progress.validation.append((progress.step, loss))
        meter.validated(progress.step, loss)
        LOG.info("%s: validation loss %.4f at step %d", self.label, loss, progress.step)
        if self.settings.patience and progress.best[0] == progress.step:
            unfinished.save_best(engine)


class _Clock:
    """Says when a checkpoint is due; a context manager around writing one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self._interval = seconds
        self._written = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._written > self._interval

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._written = time.monotonic()
        if self._seconds:  # 0 asks for one at every step
            self._interval = max(self._seconds, (self._written - self._began) / CHECKPOINT_SHARE)
