"""Training speed: dialogues by best fit, at random, and one sample per row padded to the context length.

Same model, same samples, same number of sequences per step. ``fit`` and ``pack`` run through `train.loop.train`, with
decoding of images, resume and tracking in place. The baseline (``padded``) is favoured: its batches are ready before
the clock starts. Every variant also runs as a bare loop (forward, backward, AdamW on batches and pixels that are
ready): what the loop costs beyond it is the overhead, in wall-clock time and in CPU time (which a busy machine changes
less).

Texts come from the data sets below ``--data-root`` that the readers know, else from the embedded world. All samples
have the lengths that SmolLM2's tokenizer gives them; for the tiny model their ids are mapped into its smaller
vocabulary, because with its own tokenizer a photograph's caption has many times as many tokens. Where an image is not
at hand another one stands in. Prints a table and writes ``reports/bench/train.json``: ``make bench-train``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.common import machine, publish, verdict
from bench.training_data import load_model, read_samples, segments
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.freezing import trainable_tensors
from polite_flamingo.records import Sample
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.data import IGNORED
from polite_flamingo.train.dialogue import Packer
from polite_flamingo.train.feed import Batch, Feed, Position, Step
from polite_flamingo.train.loop import train
from polite_flamingo.train.mixture import StageData
from polite_flamingo.train.settings import DialogueSettings, TrainingRun, TrainSettings
from polite_flamingo.train.store import TokenStore

CONTEXT, MAX_TURNS, MAX_IMAGES = 1024, 32, 16  # section 4.4, authors' scripts
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bfloat16 operations per second
SHAPE = {"tiny": (8, 4, 10), "smollm2": (2, 1, 2)}  # sequences per step, per forward pass, steps


def main() -> int:
    """Measure, print, write; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data-root", type=Path, default=os.environ.get("POLITE_FLAMINGO_REAL_DATA") or None)
    parser.add_argument("--models", default="tiny,smollm2", help="which of tiny, smollm2 (default: both)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="times each variant runs; the best round counts")
    parser.add_argument("--steps", type=int, help="optimizer steps of a run (default: 10 for tiny, 2 for smollm2)")
    parser.add_argument("--batch", type=int, help="sequences per step, all in one forward pass (for a GPU)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "context_length": CONTEXT, "models": {}}
    with tempfile.TemporaryDirectory() as scratch:
        root, samples, stand_ins = read_samples(options.data_root, Path(scratch) / "world")
        report["data"] = {"real": options.data_root is not None, "samples": len(samples), "stand_in_images": stand_ins}
        for name in options.models.split(","):
            bundle = load_model(name, Path(scratch), options.device)
            result = measure(name, bundle, samples, root, Path(scratch), options)
            report["models"][name] = result
            print(table(name, result), flush=True)
    print(f"written to {publish('train', report)}")
    return 0 if all(goal["met"] for result in report["models"].values() for goal in result["goals"].values()) else 1


def measure(
    name: str, bundle: FlamingoBundle, samples: list[Sample], root: Path, scratch: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """All variants in turns; figures of the best round of each."""
    batch, micro, steps = SHAPE[name]
    batch, micro, steps = options.batch or batch, options.batch or micro, options.steps or steps
    store = TokenStore.write(scratch / f"{name}.arrow", segments(bundle, samples, scratch))
    data = {mode: stage_data(bundle, store, mode) for mode in ("fit", "pack", "single")}
    work = {mode: steps_of(each, bundle, root, batch, micro, steps) for mode, each in data.items()}
    work["single"] = [padded(step, bundle.tokenizer.pad_token_id) for step in work["single"]]
    names = {"fit": "fit", "pack": "pack", "single": "padded"}
    best: dict[str, dict[str, float]] = {names[mode]: {} for mode in data}

    def better(variant: str, what: str, value: float) -> None:
        best[variant][what] = min(value, best[variant].get(what, float("inf")))

    state = {key: tensor.detach().clone() for key, tensor in trainable_tensors(bundle).items()}
    bare(bundle, work["fit"][:1], root, options.bf16)  # warm-up
    for turn in range(options.rounds):
        for mode, variant in names.items():
            began = time.process_time()
            better(variant, "bare_seconds", bare(bundle, work[mode], root, options.bf16))
            better(variant, "bare_cpu_seconds", time.process_time() - began)
            if mode != "single":
                began = time.process_time()
                result = looped(
                    bundle, data[mode], state, root, scratch / f"{turn}", (batch, micro, steps), options.bf16
                )
                better(variant, "cpu_seconds", time.process_time() - began)
                better(variant, "seconds", result.seconds)
                better(variant, "waiting_share", result.waiting_share)
    figures = {variant: {**best[variant], **counted(work[mode])} for mode, variant in names.items()}
    for variant, row in figures.items():
        seconds = row.get("seconds", row["bare_seconds"])
        row["learned_tokens_per_second"] = row["learned_tokens"] / seconds
        row["real_tokens_per_second"] = row["real_tokens"] / seconds
        if variant != "padded":
            row["overhead"] = row["seconds"] / row["bare_seconds"]
            row["cpu_overhead"] = row["cpu_seconds"] / row["bare_cpu_seconds"]
    epoch = {names[mode]: whole_epoch(each, batch) for mode, each in data.items()}
    epoch["padded"]["non_pad_share"] = epoch["padded"]["tokens"] / (epoch["padded"]["sequences"] * CONTEXT)
    fit, padding = figures["fit"], figures["padded"]
    values = {
        "fit_over_padded": (fit["learned_tokens_per_second"] / padding["learned_tokens_per_second"], 1.5, True),
        "fit_non_pad_share": (epoch["fit"]["non_pad_share"], 0.97, True),
        "waiting_share": (fit["waiting_share"], 0.03, False),
        "overhead": (fit["overhead"], 1.10, False),
    }
    return {
        "parameters_m": round(sum(p.numel() for p in bundle.model.parameters()) / 1e6, 2),
        "device": torch.cuda.get_device_name() if bundle.device.type == "cuda" else options.device,
        "bf16": options.bf16,
        "sequences_per_step": batch,
        "sequences_per_forward": micro,
        "steps": steps,
        "variants": figures,
        "whole_epoch": epoch,
        **utilisation(bundle, work["fit"], root, options.bf16, fit["seconds"]),
        "goals": {
            key: {"value": value, "goal": goal, "met": (value >= goal) if above else (value <= goal)}
            for key, (value, goal, above) in values.items()
        },
    }


def stage_data(bundle: FlamingoBundle, store: TokenStore, mode: Any) -> StageData:
    """All samples once per epoch."""
    packer = Packer.dialogues(
        bundle.tokenizer, DialogueSettings(max_turns=MAX_TURNS), context_length=CONTEXT, max_images=MAX_IMAGES
    )
    return StageData({"all": store}, {"all": 1.0}, replace(packer, mode=mode), seed=1)


def steps_of(data: StageData, bundle: FlamingoBundle, root: Path, batch: int, micro: int, steps: int) -> list[Step]:
    """The steps that the loop will take, with all their images ready."""
    bundle.clear_cache()
    settings = TrainSettings(learning_rate=1e-4, epochs=1, global_batch_size=batch, micro_batch_size=micro, seed=1)
    return list(Feed(data, bundle, settings, image_root=root, start=Position(), steps=steps))


def padded(step: Step, pad_id: int) -> Step:
    """The same step with every row padded to the context length."""

    def widened(part: Batch) -> Batch:
        missing = CONTEXT - part.input_ids.shape[1]
        mask = torch.ones_like(part.input_ids) if part.attention_mask is None else part.attention_mask
        fill = torch.nn.functional.pad
        return replace(
            part,
            input_ids=fill(part.input_ids, (0, missing), value=pad_id),
            attention_mask=fill(mask, (0, missing)),
            labels=fill(part.labels, (0, missing), value=IGNORED),
        )

    return replace(step, parts=tuple(map(widened, step.parts)))


def bare(bundle: FlamingoBundle, steps: Sequence[Step], root: Path, bf16: bool) -> float:
    """Seconds of forward, backward and AdamW on steps that are ready."""
    bundle.clear_cache()
    weights = list(trainable_tensors(bundle).values())
    optimizer = torch.optim.AdamW(weights, lr=0.0, fused=True)
    bundle.model.train()
    bundle.tower.eval()
    synchronise(bundle)
    began = time.perf_counter()
    for step in steps:
        for part in step.parts:
            with torch.autocast(bundle.device.type, torch.bfloat16, enabled=bf16):
                mask = None if part.attention_mask is None else part.attention_mask.to(bundle.device)
                loss = bundle.model.supervised_loss(
                    part.input_ids.to(bundle.device),
                    mask,
                    part.labels.to(bundle.device),
                    bundle.encode_images(part.images, root, pixels=step.pixels),
                    part.image_index.to(bundle.device),
                )
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    synchronise(bundle)
    return time.perf_counter() - began


def looped(
    bundle: FlamingoBundle,
    data: StageData,
    state: dict[str, torch.Tensor],
    root: Path,
    scratch: Path,
    shape: tuple[int, int, int],
    bf16: bool,
) -> Any:
    """The project's loop on the same steps, from the same weights."""
    batch, micro, steps = shape
    with torch.no_grad():
        for key, tensor in trainable_tensors(bundle).items():
            tensor.copy_(state[key])
    bundle.clear_cache()
    settings = TrainSettings(
        learning_rate=1e-4,
        epochs=steps * batch / len(data.epoch(0)),
        global_batch_size=batch,
        micro_batch_size=micro,
        warmup_steps=0,
        seed=1,
        bf16=bf16,
    )
    run = TrainingRun("bench", root, scratch / "out", NullTracker(), work_root=scratch / "work")
    return train(bundle, data, settings, run)


def counted(steps: Sequence[Step]) -> dict[str, float]:
    """Tokens of the timed steps."""
    computed = sum(part.input_ids.numel() for step in steps for part in step.parts)
    real = sum(step.tokens for step in steps)
    return {
        "learned_tokens": sum(step.supervised for step in steps),
        "real_tokens": real,
        "computed_tokens": computed,
        "non_pad_share": real / computed,
    }


def whole_epoch(data: StageData, batch: int) -> dict[str, float]:
    """Padding over a whole epoch in the loop's batches, without computing anything."""
    from polite_flamingo.train.feed import epoch_batches

    examples = data.epoch(0)
    batches = [examples.lengths[rows] for rows in epoch_batches(examples.lengths, batch, seed=1, epoch=0)]
    widths = sum(int(lengths.max()) * len(lengths) for lengths in batches)
    return {
        "sequences": len(examples),
        "tokens": int(examples.lengths.sum()),
        "cut_samples": examples.truncated,
        "dropped_samples": examples.skipped,
        "fill_of_context": float(np.mean(examples.lengths) / CONTEXT),
        "non_pad_share": sum(int(lengths.sum()) for lengths in batches) / widths,
    }


def utilisation(
    bundle: FlamingoBundle, steps: Sequence[Step], root: Path, bf16: bool, seconds: float
) -> dict[str, float | None]:
    """Operations of forward and backward (counted by PyTorch) per second, and their share of the device's peak."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        bare(bundle, steps[:1], root, bf16)
    per_second = counter.get_total_flops() * len(steps) / seconds
    device = torch.cuda.get_device_name() if bundle.device.type == "cuda" else ""
    peak = next((value for key, value in PEAK.items() if key in device), None) if bf16 else None
    return {"flops_per_second": per_second, "model_flops_utilisation": None if peak is None else per_second / peak}


def synchronise(bundle: FlamingoBundle) -> None:
    """Wait for the device."""
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)


def table(name: str, result: dict[str, Any]) -> str:
    """The measurement as text."""
    lines = [
        f"{name}: {result['parameters_m']} M parameters on {result['device']}, {result['steps']} steps of "
        f"{result['sequences_per_step']} sequences, context {CONTEXT}",
        f"  {'':8}{'learned tok/s':>14}{'non-pad tok/s':>15}{'non-pad':>9}{'epoch':>8}"
        f"{'waiting':>9}{'overhead':>10}{'of CPU':>8}",
    ]
    for variant, row in result["variants"].items():
        keys = ("waiting_share", "overhead", "cpu_overhead")
        waiting, overhead, cpu = (f"{row[key]:.3f}" if key in row else "-" for key in keys)
        lines.append(
            f"  {variant:8}{row['learned_tokens_per_second']:14.0f}{row['real_tokens_per_second']:15.0f}"
            f"{row['non_pad_share']:9.3f}{result['whole_epoch'][variant]['non_pad_share']:8.3f}{waiting:>9}{overhead:>10}{cpu:>8}"
        )
    utilised = result["model_flops_utilisation"]
    lines.append(
        f"  {result['flops_per_second'] / 1e12:.3f} TFLOP/s"
        + ("" if utilised is None else f", {utilised:.1%} of the peak")
    )
    for key, goal in result["goals"].items():
        lines.append(f"  {key} {goal['value']:.3f} (goal {goal['goal']:g}: {verdict(goal['met'])})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
