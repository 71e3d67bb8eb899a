"""The laptop's NLI judge: a sentence encoder with a three-way head and LoRA, trained on real pairs and statements."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from polite_flamingo.io.text import write_json
from polite_flamingo.laptop.adapters import AdapterRecipe, Judge, Logits, fine_tune, share
from polite_flamingo.laptop.answers import Answered, kit_root, read_answered
from polite_flamingo.laptop.nli_texts import Judged, read_entailment, statements
from polite_flamingo.model.origins import materialise
from polite_flamingo.scorers.nli import LABELS
from polite_flamingo.sources.photographs import Part

LOG = logging.getLogger(__name__)
SEED = 7
SMOOTHING = 0.05
MOST = {"vqa": 500, "vqa_x": 250, "okvqa": 250, "daquar": 300, "vquanda": 500, "qadialog": 350}  # questions in an epoch
MOST_MEASURED = {"vqa": 400, "daquar": 400}
STATEMENTS = ("vqa", "vqa_x", "okvqa", "aokvqa", "daquar", "vquanda", "qadialog")


def train_nli(
    data_root: Path, out: Path, work: Path, *, device: str, recipe: AdapterRecipe, base: Path | None = None
) -> dict[str, Any]:
    """Train, save the adapter to ``out/nli`` and its figures to ``out/nli.json``.

    Args:
        data_root: Folder that holds ``photos/`` and ``nli/``.
        out: Where weights and figures go.
        work: Where the checkpoint lies.
        device: ``cpu`` or ``cuda``.
        recipe: See `AdapterRecipe`.
        base: Folder of the sentence encoder, in place of fetching `recipe.base`.

    Returns:
        The figures: of the validation part and of the held-out part, per data set.
    """
    root = kit_root(data_root)
    entailment, answered = read_entailment(root), read_answered(root)
    real = [pair for pair in entailment if pair.part == "train"]
    asked = [record for record in answered if record.part == "train"]
    epochs = [[*real, *statements(asked, SEED, epoch, MOST)] for epoch in range(recipe.epochs)]
    with tempfile.TemporaryDirectory() as scratch:
        if base is None:
            base = Path(scratch) / "base"
            materialise(recipe.base, "sts", base)
        judge = Judge(base, LABELS, recipe, device, SEED)
    ran = fine_tune(judge, epochs, _loss, _size, recipe, work / "nli.pt", seed=SEED)
    judge.round()
    figures: dict[str, Any] = {"ran": ran, "pairs": [len(epoch) for epoch in epochs]}
    for part in ("validation", "held_out"):
        pairs = pairs_of(entailment, answered, part)
        guesses = judge.measure([(pair.premise, pair.hypothesis) for pair in pairs]).argmax(-1)
        figures[part] = accuracies(pairs, guesses.tolist())
        LOG.info("%s: %s", part, json.dumps(figures[part]))
    judge.save(out / "nli", recipe.base)
    write_json(out / "nli.json", figures)
    return figures


def pairs_of(entailment: Sequence[Judged], answered: Sequence[Answered], part: Part) -> list[Judged]:
    """What is measured on in a part: its real pairs, and statements drawn once."""
    asked = [record for record in answered if record.part == part]
    return [*(pair for pair in entailment if pair.part == part), *statements(asked, SEED, -1, MOST_MEASURED)]


def accuracies(pairs: Sequence[Judged], guesses: Sequence[int]) -> dict[str, dict[str, float]]:
    """Accuracy per data set, over all statements, and over each label of the statements."""
    right = [(pair, guess == pair.label) for pair, guess in zip(pairs, guesses, strict=True)]
    figures = {
        source: share([ok for pair, ok in right if pair.source == source])
        for source in dict.fromkeys(pair.source for pair in pairs)
    }
    own = [(pair, ok) for pair, ok in right if pair.source in STATEMENTS]
    figures["statements"] = share([ok for _, ok in own])
    for label, name in enumerate(LABELS):
        figures[f"statements_{name}"] = share([ok for pair, ok in own if pair.label == label])
    return figures


def _loss(logits: Logits, pairs: Sequence[Judged]) -> torch.Tensor:
    values = logits([(pair.premise, pair.hypothesis) for pair in pairs])
    labels = torch.tensor([pair.label for pair in pairs], device=values.device)
    return functional.cross_entropy(values, labels, label_smoothing=SMOOTHING)


def _size(pair: Judged) -> int:
    return len(pair.premise) + len(pair.hypothesis)
