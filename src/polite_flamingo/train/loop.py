"""From a saved model to trained weights: one plain loop for the rewriter and the three stages (section 4.3).

The order of the data is a pure function of (seed, epoch), dropout of (seed, step, process), so a run killed at any
instant and started again goes on with the same losses to the same weights (`train.resume`). One process, DDP and
DeepSpeed's ZeRO share this loop; they differ in their learner (`train.learner`, `train.sharded`).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import AdapterSettings
from polite_flamingo.train.data import Example, HeldOutData, TrainingData, as_training_data
from polite_flamingo.train.feed import Feed, Step
from polite_flamingo.train.group import join_processes, leave_processes, micro_batches, rank, world_size
from polite_flamingo.train.learner import Learner, check_finite, deterministic
from polite_flamingo.train.meter import Meter, plot_losses, write_losses
from polite_flamingo.train.resume import CheckpointClock, TrainingState, Unfinished, identity, single_writer
from polite_flamingo.train.settings import Distribution, TrainingRun, TrainMachineSettings, TrainResult, TrainSettings
from polite_flamingo.train.sharded import ShardedLearner
from polite_flamingo.train.validation import validation_loss

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle

LOG = logging.getLogger(__name__)


def open_model(
    folder: Path,
    lora: AdapterSettings,
    machine: TrainMachineSettings,
    *,
    trainables: Path | None = None,
    resolution: int | None = None,
) -> FlamingoBundle:
    """Load what a training starts from, in every process that shares it.

    Args:
        folder: The base.
        lora: Its `quantize` says whether the decoder is kept in four bits.
        machine: Device, threads and kernels.
        trainables: Folder of what an earlier training learned.
        resolution: Side of the images in pixels; None: the vision tower's own.

    Raises:
        ModelError: the folder holds no model, or the trainables belong to another base.
    """
    torch.set_num_threads(machine.threads)
    join_processes(machine.device)
    bundle = load_flamingo(
        folder,
        device=machine.device,
        trainables=trainables,
        merge=False,
        resolution=resolution,
        quantize=lora.quantize,
        attention=machine.attention,
    )
    bundle.checkpoint_activations(machine.gradient_checkpointing)
    return bundle


def fine_tune(
    bundle: FlamingoBundle,
    data: HeldOutData,
    settings: TrainSettings,
    run: TrainingRun,
    *,
    groups: Sequence[str],
    lora: AdapterSettings,
) -> dict[str, Any]:
    """Train some groups of a model's weights in place; adapters are put in where they are to learn and none are.

    Args:
        bundle: The model.
        data: What it learns, and what it is validated with.
        settings: See `TrainSettings`.
        run: Where it runs and who watches.
        groups: What learns (`model.freezing.GROUPS`).
        lora: Fresh adapters.

    Returns:
        For a report: trainable values per group, steps, tokens, first and final loss, figures of the validation.
    """
    if bundle.lora is None and "lora" in groups:
        inject_lora(bundle, lora, seed=settings.seed, start_from=lora.start_from)
    trainable = set_trainable(bundle, groups)
    name = run.out.name
    run.tracker.params({f"{name}/trainable": sum(trainable.values()), f"{name}/learning_rate": settings.learning_rate})
    result = train(bundle, data, settings, run, validation=data.validation)
    return {
        "trainable": trainable,
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": round(result.losses[0], 4),
        "final_loss": round(result.final_loss, 4),
        **result.validated(),
    }


def keep(bundle: FlamingoBundle, folder: Path, configuration: dict[str, Any]) -> bool:
    """End the work shared with other processes and save all that was learned so far.

    Returns:
        True in the first process, which goes on alone.
    """
    if not leave_processes():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    save_trainables(bundle, folder, configuration=configuration)
    return True


def train(
    bundle: FlamingoBundle,
    examples: Sequence[Example] | TrainingData,
    settings: TrainSettings,
    run: TrainingRun,
    *,
    validation: Sequence[Example] = (),
) -> TrainResult:
    """Train the weights that `model.freezing.set_trainable` chose, in place.

    Args:
        bundle: The model.
        examples: The sequences, or what draws them for every epoch.
        settings: See `TrainSettings`.
        run: Where it runs and who watches.
        validation: Sequences for ``settings.validation.every``.

    Raises:
        DataError: no example, a batch without a supervised token, or a broken image.
        ModelError: nothing is trainable, the loss is not finite (the message names step, samples and where the batch
            is kept), or an unfinished training in the folder had other settings.
        BusyError: another process runs the same training.
    """
    tensors = _learned(bundle, run.label)
    data = as_training_data(examples)
    steps = _steps(data, settings, run.label)
    if settings.validation.every and not validation:
        raise DataError("no example to validate with", where=run.label, next_step="hold a greater share out")
    micro_batches(settings, world_size())  # before anything is loaded
    requested = identity(
        settings,
        run.distribution,
        bundle=bundle,
        tensors=tensors,
        data=data.identity,
        validation=as_training_data(validation).identity if settings.validation.every else None,
        steps=steps,
        world=world_size(),
    )
    started = time.monotonic()
    with deterministic(), single_writer(run.folder, rank()), torch.random.fork_rng():
        unfinished = Unfinished(run.folder / "unfinished", requested)
        state = unfinished.state() or TrainingState()
        with _learner(bundle, tensors, settings, run.distribution) as learner:
            unfinished.clear(learner)
            result = _Training(learner, data, steps, run, validation, unfinished).go_on(state)
        if learner.rank == 0:
            LOG.info(
                "%s: %d steps, %d tokens in %.1f s", run.label, result.steps, result.tokens, time.monotonic() - started
            )
            write_losses(result.losses, run.out / "loss.csv")
            plot_losses(result.losses, run.out / "loss.png", run.label, result.validation)
            run.tracker.artifact(run.out / "loss.png")
            unfinished.discard()
    return result


@dataclass
class _Training:
    learner: Learner
    data: TrainingData
    steps: int
    run: TrainingRun
    validation: Sequence[Example]
    unfinished: Unfinished

    def go_on(self, state: TrainingState) -> TrainResult:
        """Train from `state` (the beginning, or the latest checkpoint) to the last step or an early stop."""
        from tqdm import tqdm

        learner, label, started, resumed = self.learner, self.run.label, time.monotonic(), state.step
        settings = learner.settings
        if resumed:
            self.unfinished.restore(learner)
            LOG.info("%s: going on from step %d", label, resumed)
        feed = Feed(
            self.data,
            learner.bundle,
            settings,
            image_root=self.run.image_root,
            start=state.position,
            steps=0 if state.has_stalled(settings.validation.patience) else self.steps - resumed,
            rank=learner.rank,
            world=learner.world,
        )
        quiet = learner.rank != 0
        meter = Meter(self.run.tracker, label, quiet=quiet)
        clock = CheckpointClock(settings.checkpoint_seconds)
        with tqdm(
            total=self.steps, initial=resumed, desc=label, unit="step", mininterval=1.0, disable=quiet
        ) as progress:
            for step in feed:
                checkpoint = self._take(step, state, meter, feed.waited, due=clock.is_due())
                progress.update(1)
                progress.set_postfix(loss=f"{state.losses[-1]:.3f}", refresh=False)
                with meter.paused():
                    if settings.validation.every and (
                        state.step % settings.validation.every == 0 or self._is_last(state)
                    ):
                        self._validate(state, meter)
                    if checkpoint:
                        with clock:
                            self.unfinished.save(learner, state)
                if state.has_stalled(settings.validation.patience):
                    LOG.info("%s: stopped at step %d, no better validation since", label, state.step)
                    break
        seconds = time.monotonic() - started
        return TrainResult(
            tuple(state.losses),
            state.step,
            state.tokens,
            validation=tuple(state.validation),
            best_step=self._go_back_to_best(state),
            resumed_from=resumed,
            seconds=seconds,
            waiting_share=feed.waited / max(1e-9, seconds - meter.pause),
            useful_share=meter.real / max(1, meter.computed),
        )

    def _take(self, step: Step, state: TrainingState, meter: Meter, waited: float, *, due: bool) -> bool:
        """Take one optimizer step and write it down; whether a checkpoint is to be written."""
        learner, run = self.learner, self.run
        rate = learner.settings.rate(state.step, self.steps)
        outcome = learner.step(step, state.step, rate, due=due, image_root=run.image_root)
        facts = {"label": run.label, "rank": learner.rank, "learning_rate": rate, "step": state.step}
        check_finite(outcome, step.parts, run.folder, facts)
        state.losses.append(outcome.loss)
        state.tokens += step.tokens
        state.step += 1
        state.position = step.after
        meter.add(outcome.loss, outcome.norm, step.tokens, step.parts)
        meter.report(state.step, rate, waited, last=self._is_last(state))
        return outcome.checkpoint

    def _is_last(self, state: TrainingState) -> bool:
        return state.step == self.steps

    def _validate(self, state: TrainingState, meter: Meter) -> None:
        loss = validation_loss(self.learner, self.validation, image_root=self.run.image_root)
        state.validation.append((state.step, loss))
        meter.validated(state.step, loss)
        LOG.info("%s: validation loss %.4f at step %d", self.run.label, loss, state.step)
        if self.learner.settings.validation.patience and state.best[0] == state.step:
            self.unfinished.save_best(self.learner)

    def _go_back_to_best(self, state: TrainingState) -> int:
        """Put the best validated weights back, with early stop; the step whose weights the model has now."""
        best = state.best[0] if self.learner.settings.validation.patience and state.validation else state.step
        if best != state.step:
            self.unfinished.restore_best(self.learner)
        return best


def _learned(bundle: FlamingoBundle, label: str) -> dict[str, torch.nn.Parameter]:
    """What learns, by name."""
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
    return tensors


def _steps(data: TrainingData, settings: TrainSettings, label: str) -> int:
    """Optimizer steps of the training."""
    count = len(data.epoch(0))
    if not count:
        raise DataError("no example to train on", where=label, next_step="look at the stage before")
    return max(1, round(settings.epochs * count / settings.global_batch_size))


@contextmanager
def _learner(
    bundle: FlamingoBundle,
    tensors: Mapping[str, torch.nn.Parameter],
    settings: TrainSettings,
    distribution: Distribution,
) -> Iterator[Learner]:
    """The learner for a distribution of the work, closed at the end."""
    learner = (
        ShardedLearner(bundle, tensors, settings, distribution)
        if distribution.sharded
        else Learner(bundle, tensors, settings)
    )
    try:
        yield learner
    except BaseException:
        learner.close(failed=True)
        raise
    learner.close()
