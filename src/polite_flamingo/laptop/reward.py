"""The laptop's reward model: a sentence encoder with one output and LoRA, trained on preferences (Bradley-Terry)."""

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
from polite_flamingo.laptop.reward_texts import PreferredPair, read_preferences, verbalised
from polite_flamingo.model.origins import materialise
from polite_flamingo.sources.photographs import Part

LOG = logging.getLogger(__name__)
SEED = 11
LABELS = ("reward",)
MOST = {"daquar": 900, "vqa": 900, "vquanda": 1500, "qadialog": 1200}  # questions of a data set
DECAY = 0.01  # of the reward's square: keeps its scale


def train_reward(
    data_root: Path, out: Path, work: Path, *, device: str, recipe: AdapterRecipe, base: Path | None = None
) -> dict[str, Any]:
    """Train, save the adapter to ``out/reward`` and its figures to ``out/reward.json``.

    Args:
        data_root: Folder that holds ``photos/``, ``preference/``, ``politeness/`` and ``text/``.
        out: Where weights and figures go.
        work: Where the checkpoint lies.
        device: ``cpu`` or ``cuda``.
        recipe: See `AdapterRecipe`.
        base: Folder of the sentence encoder, in place of fetching `recipe.base`.

    Returns:
        The figures: share of pairs in the right order per data set, of the validation part and of the held-out part.
    """
    root = kit_root(data_root)
    people, answered = read_preferences(root, SEED), read_answered(root)
    own = [pair for pair in people if pair.part == "train"]
    asked = _some([record for record in answered if record.part == "train"])
    epochs = [[*own, *verbalised(asked, SEED, epoch)] for epoch in range(recipe.epochs)]
    with tempfile.TemporaryDirectory() as scratch:
        if base is None:
            base = Path(scratch) / "base"
            materialise(recipe.base, "sts", base)
        judge = Judge(base, LABELS, recipe, device, SEED)
    ran = fine_tune(judge, epochs, _loss, _size, recipe, work / "reward.pt", seed=SEED)
    judge.round()
    figures: dict[str, Any] = {"ran": ran, "pairs": [len(epoch) for epoch in epochs]}
    for part in ("validation", "held_out"):
        pairs = preferences_of(people, answered, part)
        rewards = judge.measure([text for pair in pairs for text in pair.pairs])[:, 0]
        figures[part] = orders(pairs, rewards.tolist())
        LOG.info("%s: %s", part, json.dumps(figures[part]))
    judge.save(out / "reward", recipe.base)
    write_json(out / "reward.json", figures)
    return figures


def preferences_of(people: Sequence[PreferredPair], answered: Sequence[Answered], part: Part) -> list[PreferredPair]:
    """What is measured on in a part: people's preferences, and full answers against short ones, drawn once."""
    asked = _some([record for record in answered if record.part == part])
    return [*(pair for pair in people if pair.part == part), *verbalised(asked, SEED, -1)]


def orders(pairs: Sequence[PreferredPair], rewards: Sequence[float]) -> dict[str, dict[str, float]]:
    """Share of pairs whose better response has the higher reward, per data set; two rewards a pair."""
    right = [better > worse for better, worse in zip(rewards[::2], rewards[1::2], strict=True)]
    return {
        source: share([ok for pair, ok in zip(pairs, right, strict=True) if pair.source == source])
        for source in sorted({pair.source for pair in pairs})
    }


def _some(answered: Sequence[Answered]) -> list[Answered]:
    """At most `MOST` of each data set, spread over it."""
    chosen: list[Answered] = []
    for source in dict.fromkeys(record.source for record in answered):
        own = [record for record in answered if record.source == source]
        step = max(1, len(own) // MOST.get(source, len(own)))
        chosen += own[::step]
    return chosen


def _loss(logits: Logits, pairs: Sequence[PreferredPair]) -> torch.Tensor:
    rewards = logits([text for pair in pairs for text in pair.pairs])[:, 0].reshape(-1, 2)
    return -functional.logsigmoid(rewards[:, 0] - rewards[:, 1]).mean() + DECAY * rewards.square().mean()


def _size(pair: PreferredPair) -> int:
    return max(len(question) + len(response) for question, response in pair.pairs)
