"""The paper's shapes with random weights on one GPU: a step of every training, and generation.

OpenFlamingo-9B v1 in bfloat16 and OpenFlamingo-4B in NF4, as the profiles ``paper_8xa100`` and ``single_gpu`` would
build them, nothing downloaded. Of each: one optimizer step of the rewriter and of the three stages on as many sequences
as one of the paper's eight GPUs has per step, every sequence as long as the context and with as many images as the
stage allows (the rewriter: one); and 64 records continued greedily. Beside the peak of the memory stands the estimate
of ``polite-flamingo plan``, beside the samples per second those that Table 4's hours come to for one GPU.

``make bench-gpu`` prints the table, writes ``reports/bench/gpu.json`` and fills the table of docs/gpu.md. ``--dry``
does the same at toy size on the CPU, to see that it runs; its figures mean nothing and no page is written.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image

from bench.common import ROOT, machine, publish
from bench.gpu_table import table
from polite_flamingo.errors import ModelError
from polite_flamingo.marked import fill
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.origins import PACKAGED
from polite_flamingo.model.quantize import quantize_decoder
from polite_flamingo.model.settings import GenerationSettings, LoraSettings
from polite_flamingo.model.shapes import Blueprint, blueprint, count, random_parts
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.paper import TABLE_4
from polite_flamingo.plan.training import SUPERVISED_SHARE
from polite_flamingo.train.data import IGNORED, Example, FixedExamples
from polite_flamingo.train.feed import Feed, Position
from polite_flamingo.train.learner import Learner
from polite_flamingo.train.memory import Workload, flops_per_token, memory
from polite_flamingo.train.settings import TrainSettings

PAGE, MARK = ROOT / "docs" / "gpu.md", "gpu figures"
PAPER_GPUS = 8
CARDS = {  # part of the card's name -> dense bfloat16 operations, bytes of memory per second: the vendor's data sheets
    "H200": (989e12, 4.8e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100": (989e12, 3.35e12),
    "A100-SXM4-40GB": (312e12, 1.555e12),
    "A100-PCIE-40GB": (312e12, 1.555e12),
    "A100-SXM4-80GB": (312e12, 2.039e12),
    "A100": (312e12, 1.935e12),
    "L40S": (362e12, 0.864e12),
    "RTX 4090": (165e12, 1.008e12),
    "RTX 3090": (71e12, 0.936e12),
}
RECORDS, PROMPT_TOKENS, NEW_TOKENS = 64, 200, 128


@dataclass(frozen=True, slots=True)
class Case:
    """A model to measure."""

    name: str
    base: Blueprint
    params: Params
    quantize: str
    device: torch.device
    dtype: torch.dtype
    dry: bool

    @property
    def bf16(self) -> bool:
        """Compute in bfloat16."""
        return self.dtype is torch.bfloat16


@dataclass(frozen=True, slots=True)
class Training:
    """What of a training decides its cost."""

    name: str
    groups: tuple[str, ...]
    lora: LoraSettings
    context: int
    sequences: int
    images: int


def main() -> int:
    """Measure, print, write; 2 without a GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--dry", action="store_true", help="toy size on the CPU: to see that it runs")
    parser.add_argument("--models", default="9B,4B", help="which of 9B, 4B (default: both)")
    options = parser.parse_args()
    if not (options.dry or torch.cuda.is_available()):
        print("there is no GPU here, so there is nothing to measure; --dry runs it at toy size on the CPU")
        return 2
    card = "CPU, toy size" if options.dry else torch.cuda.get_device_name()
    about = machine(("torch", "transformers", "numpy"))
    report: dict[str, Any] = {"card": card, "dry": options.dry, "machine": about}
    models = {}
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases(options.dry, options.models.split(",")):
            try:
                models[case.name] = measure(case, Path(scratch), card)
            except ModelError as error:
                if not options.dry:
                    raise
                models[case.name] = {"skipped": str(error).splitlines()[0]}
    text = table(card, models)
    print(text)
    print(f"written to {publish('gpu_dry' if options.dry else 'gpu', {**report, 'models': models})}")
    if not options.dry:
        fill(PAGE, {MARK: text})
    return 0


def cases(dry: bool, names: Sequence[str]) -> Iterator[Case]:
    """The models to measure, none of them built yet."""
    known = {
        "9B": ("OpenFlamingo-9B v1, bfloat16", "paper_8xa100", "none"),
        "4B": ("OpenFlamingo-4B, NF4", "single_gpu", "nf4"),
    }
    for name in names:
        if name not in known:
            sys.exit(f"unknown model {name!r}: {', '.join(known)}")
        title, profile, quantize = known[name]
        params = load_params(ROOT / "params.yaml", profile)
        base = blueprint("packaged:" if dry else params.backbones.flamingo)
        device, dtype = ("cpu", torch.float32) if dry else ("cuda", torch.bfloat16)
        yield Case(title, base, params, quantize, torch.device(device), dtype, dry)


def measure(case: Case, scratch: Path, card: str) -> dict[str, Any]:
    """Generation, then a step of every training."""
    bundle = random_flamingo(case)
    side = int(case.params.tune.common.resolution or case.base.vision["image_size"])
    peaks = next((rates for key, rates in CARDS.items() if key in card), (None, None))
    prompts = RECORDS if not case.dry else 4
    with images(scratch, side, prompts) as paths:
        generation = generate_records(case, bundle, paths, scratch, peaks[1])
    print(f"{case.name}: generated", file=sys.stderr, flush=True)
    steps: dict[str, Any] = {}
    for training in trainings(case):
        with images(scratch, side, 2 * training.sequences * training.images) as paths:
            try:
                steps[training.name] = train_step(case, bundle, training, paths, scratch, peaks[0])
            except torch.OutOfMemoryError:
                steps[training.name] = {"skipped": "does not fit this card's memory"}
        print(f"{case.name}: {training.name} {steps[training.name]}", file=sys.stderr, flush=True)
    del bundle
    free(case)
    return {"steps": steps, "generation": generation}


def random_flamingo(case: Case) -> FlamingoBundle:
    """The case's model with random weights, on its device and in its number type; the tokenizer is the tiny one's."""
    from transformers import AutoTokenizer

    before = torch.get_default_dtype()
    torch.set_default_dtype(case.dtype)
    try:
        with torch.device(case.device):
            lm, vision = random_parts(case.base, case.params.tune.common.resolution)
            tokenizer = AutoTokenizer.from_pretrained(PACKAGED / "flamingo" / "lm")
            bundle = build_flamingo(lm, tokenizer, vision, config=case.base.config, device=case.device)
    finally:
        torch.set_default_dtype(before)
    quantize_decoder(bundle, case.quantize, case.device)
    bundle.checkpoint_activations(case.params.runtime.gradient_checkpointing)
    return bundle


def trainings(case: Case) -> Iterator[Training]:
    """The rewriter and the three stages; sequences are the share of one of the paper's GPUs."""
    rewriter, tune = case.params.rewriter, case.params.tune
    share, context = (1, None) if not case.dry else (16, 64)

    def sequences(batch: int) -> int:
        return max(1, batch // PAPER_GPUS // share)

    own = LoraSettings.of(rewriter.lora)
    yield Training(
        "rewriter", ("lora",), own, context or rewriter.context_length, sequences(rewriter.global_batch_size), 1
    )
    for name in ("stage1", "stage2", "stage3"):
        stage = getattr(tune, name)
        yield Training(
            name,
            tuple(stage.trainable),
            LoraSettings.of(tune.common.lora),
            context or stage.context_length,
            sequences(stage.global_batch_size),
            stage.max_images,
        )


def train_step(
    case: Case, bundle: FlamingoBundle, training: Training, paths: Sequence[str], root: Path, peak: float | None
) -> dict[str, Any]:
    """One optimizer step after one that warms up: seconds, memory beside the estimate, utilisation."""
    if bundle.lora is None:
        inject_lora(bundle, training.lora)
    set_trainable(bundle, training.groups)
    learned = trainable_tensors(bundle)
    for tensor in learned.values():
        tensor.data = tensor.data.float()
    micro = min(case.params.runtime.micro_batch_size, training.sequences)
    settings = TrainSettings(
        learning_rate=1e-5,
        epochs=1,
        global_batch_size=training.sequences,
        micro_batch_size=micro,
        warmup_steps=0,
        bf16=case.bf16,
    )
    data = FixedExamples(list(examples(bundle, training, paths)))
    free(case)
    learner = Learner(bundle, learned, settings)
    seconds = []
    for number, step in enumerate(Feed(data, bundle, settings, image_root=root, start=Position(), steps=2)):
        synchronise(case)
        began = time.perf_counter()
        learner.step(step, number, settings.learning_rate, due=False, image_root=root)
        synchronise(case)
        seconds.append(time.perf_counter() - began)
    learner.close()
    for tensor in learned.values():
        tensor.requires_grad_(False)
        tensor.data = tensor.data.to(case.dtype)
    tokens = training.sequences * training.context
    paper = TABLE_4[training.name]
    theirs = paper.samples * paper.epochs / (3600 * paper.hours * PAPER_GPUS)
    counts = count(case.base, training.groups, training.lora, case.params.tune.common.resolution)
    operations = flops_per_token(counts.total, counts.learned, checkpointing=False) * tokens
    return {
        "learned": sum(tensor.numel() for tensor in learned.values()),
        "sequences": training.sequences,
        "tokens": tokens,
        "seconds": seconds[-1],
        "tokens_per_second": tokens / seconds[-1],
        "peak_bytes": None if case.dry else torch.cuda.max_memory_allocated(),
        "estimated_bytes": estimate(case, training, micro),
        "flops_utilisation": None if peak is None else operations / seconds[-1] / peak,
        "samples_per_second": training.sequences / seconds[-1],
        "paper_samples_per_second": None if case.dry else theirs,
    }


def estimate(case: Case, training: Training, micro: int) -> int:
    """What `polite-flamingo plan` says of one GPU, in bytes."""
    counts = count(case.base, training.groups, training.lora, case.params.tune.common.resolution)
    tokens = micro * training.context
    return memory(
        Workload(
            frozen=counts.total - counts.learned,
            quantized=counts.parts["lm"] - counts.parts["embeddings"] if case.quantize == "nf4" else 0,
            learned=counts.learned,
            blocks=case.base.language["num_hidden_layers"],
            width=case.base.language["hidden_size"],
            vocabulary=case.base.language["vocab_size"] + case.base.new_tokens,
            tokens=tokens,
            supervised=int(tokens * SUPERVISED_SHARE),
            bf16=case.bf16,
            checkpointing=case.params.runtime.gradient_checkpointing,
        )
    )["total"]


def examples(bundle: FlamingoBundle, training: Training, paths: Sequence[str]) -> Iterator[Example]:
    """Full sequences of random tokens for two steps, their images spread evenly and each shown once."""
    rng = Random(0)
    special = {bundle.media_token_id, bundle.tokenizer.pad_token_id, bundle.tokenizer.eos_token_id}
    plain = [token for token in range(len(bundle.tokenizer)) if token not in special]
    length, shown = training.context, training.images
    for number in range(2 * training.sequences):
        ids = rng.choices(plain, k=length)
        for image in range(shown):
            ids[image * length // shown] = bundle.media_token_id
        unlearned = int(length * (1 - SUPERVISED_SHARE))
        labels = [IGNORED] * unlearned + [IGNORED if t in special else t for t in ids[unlearned:]]
        yield Example(str(number), tuple(ids), tuple(labels), tuple(paths[number * shown : (number + 1) * shown]))


def generate_records(
    case: Case, bundle: FlamingoBundle, paths: Sequence[str], root: Path, peak: float | None
) -> dict[str, Any]:
    """Records continued greedily, all at once; a decoding step's time is what further tokens take."""
    words = ["red", "circle", "blue", "star", "green", "square"]
    rng = Random(0)
    prompts = [
        Prompt("### Human: <image><|endofchunk|>" + " ".join(rng.choices(words, k=PROMPT_TOKENS)), (path,))
        for path in paths
    ]
    length = NEW_TOKENS if not case.dry else 8
    lengths = [len(ids) for ids in bundle.tokenizer([prompt.text for prompt in prompts]).input_ids]
    seconds, results = {}, []
    free(case)
    for new in (1, 1, length):  # the first is a warm-up
        settings = GenerationSettings(max_new_tokens=new, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
        bundle.clear_cache()
        synchronise(case)
        began = time.perf_counter()
        results = generate(bundle, prompts, settings, image_root=root, batch_size=len(prompts))
        synchronise(case)
        seconds[new] = time.perf_counter() - began
    per_step = (seconds[length] - seconds[1]) / (length - 1)
    moved = bytes_per_step(bundle, len(prompts), sum(lengths) / len(lengths) + length / 2)
    return {
        "records": len(prompts),
        "prompt_tokens": sum(lengths) / len(lengths),
        "new_tokens": sum(result.tokens for result in results),
        "seconds": seconds[length],
        "records_per_second": len(prompts) / seconds[length],
        "seconds_per_step": per_step,
        "bytes_per_step": moved,
        "bandwidth_share": None if peak is None or per_step <= 0 else moved / per_step / peak,
        "peak_bytes": None if case.dry else torch.cuda.max_memory_allocated(),
    }


def bytes_per_step(bundle: FlamingoBundle, rows: int, columns: float) -> float:
    """Bytes that a decoding step must read: weights of decoder, cross-attention and output, keys and values of rows."""
    lm = bundle.model.lang_encoder
    unread = {id(lm.get_input_embeddings().weight)} - {id(lm.get_output_embeddings().weight)}
    weights = {id(p): p.numel() * p.element_size() for p in lm.parameters() if id(p) not in unread}
    config = lm.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = heads * (config.hidden_size // config.num_attention_heads)
    kept = 2 * config.num_hidden_layers * width * rows * columns * bundle.dtype.itemsize
    return sum(weights.values()) + kept


@contextmanager
def images(folder: Path, side: int, number: int) -> Iterator[list[str]]:
    """Paths of `number` images below `folder`, all of the same noise: each is opened and encoded for itself."""
    first = folder / "noise.png"
    if not first.exists():
        Image.frombytes("RGB", (side, side), Random(0).randbytes(side * side * 3)).save(first)
    paths = [f"{index}.png" for index in range(number)]
    for path in paths:
        os.link(first, folder / path)
    try:
        yield paths
    finally:
        for path in paths:
            (folder / path).unlink()
        first.unlink()


def free(case: Case) -> None:
    """Give back what is unused, and measure peaks from here on."""
    gc.collect()
    if case.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def synchronise(case: Case) -> None:
    """Wait for the device."""
    if case.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
