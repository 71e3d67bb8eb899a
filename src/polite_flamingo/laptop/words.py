"""The perceiver's warm start: its latents learn to name the words of a photograph's captions.

A fresh perceiver makes nearly the same latents of every picture (they are learned vectors with a little attention
added), and some thousand photographs are too few for a frozen language model's loss to change that. So before it is
shown to the language model each of its latents votes for words, a picture's words being the loudest votes. The linear
map from latents to words is thrown away afterwards.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import torch
from torch import nn
from torch.nn import functional

from polite_flamingo.io.files import replacing
from polite_flamingo.laptop.fit import some_patches
from polite_flamingo.model.bundle import FlamingoBundle

LOG = logging.getLogger(__name__)
LEAST = 8  # captions of the training part that a word must be in
DROPPED = 0.1  # of a latent's channels before the vote
_SILENT_TEXT = """
a an the of in on at to and with is are was were be being his her its their it this that there some by for from
as into while up down out over near next he she they one who which has have
"""
SILENT = frozenset(_SILENT_TEXT.split())
_WORD = re.compile(r"[a-z]+")


def caption_words(captions: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, list[int]]]:
    """The words that captions use and, by photograph, the numbers of those that its captions have."""
    found = {image: set(_WORD.findall(" ".join(texts).lower())) - SILENT for image, texts in captions.items()}
    counts = Counter(word for words in found.values() for word in words)
    words = sorted(word for word, count in counts.items() if count >= LEAST)
    place = {word: number for number, word in enumerate(words)}
    return words, {image: sorted(place[w] for w in said if w in place) for image, said in found.items()}


class Votes(nn.Module):
    """Latents (N, n, d) -> logit of each word (N, words): soft maximum over the latents' votes.

    Args:
        width: Width of a latent.
        words: How many words.
    """

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.votes = nn.Linear(width, words, bias=False)
        self.bias = nn.Parameter(torch.full((words,), -4.0))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """See the class."""
        votes = self.votes(functional.dropout(latents, DROPPED, self.training)).float()
        return votes.logsumexp(dim=1) - math.log(latents.shape[1]) + self.bias


def warm_perceiver(
    bundle: FlamingoBundle,
    features: torch.Tensor,
    rows: Mapping[str, tuple[int, int]],
    captions: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    epochs: int,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Train the perceiver, resuming from the checkpoint in `folder`; returns the last loss.

    Args:
        bundle: The model; its perceiver is changed in place.
        features: Dressed patch tokens of all images (N, v, d).
        rows: Rows of a photograph by path, as it is and mirrored.
        captions: Captions by photograph.
        folder: Where the checkpoint lies.
        epochs: Passes over the photographs.
        batch: Photographs per step.
        rate: Peak learning rate.
        seed: Of the votes and the order.
    """
    words, said = caption_words(captions)
    torch.manual_seed(seed)
    votes = Votes(features.shape[-1], len(words)).to(bundle.device)
    learner = nn.ModuleList([bundle.model.perceiver, votes.train()])
    optimizer = torch.optim.AdamW(learner.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    state, first, mean = folder / "words.pt", 0, math.nan
    if state.is_file():
        kept = torch.load(state, map_location="cpu", weights_only=True)
        learner.load_state_dict(kept["learner"])
        optimizer.load_state_dict(kept["optimizer"])
        first, mean = kept["epoch"], kept["loss"]
    folder.mkdir(parents=True, exist_ok=True)
    steps = math.ceil(len(said) / batch)
    for epoch in range(first, epochs):
        rng, total = Random(f"{seed}:{epoch}:words"), 0.0
        torch.manual_seed(seed + epoch)  # of the votes' dropout
        images = rng.sample(sorted(said), len(said))
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * _share((epoch + step / steps) / epochs)
            chosen = images[step * batch : (step + 1) * batch]
            picked = torch.tensor([rows[image][rng.random() < 0.5] for image in chosen], device=bundle.device)
            patches = some_patches(features.shape[1], epoch * steps + step).to(bundle.device)
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(bundle, votes, features[picked][:, patches], [said[image] for image in chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
            optimizer.step()
            total += float(loss.detach())
        mean = total / steps
        LOG.info("words, epoch %d of %d: loss %.3f a photograph", epoch + 1, epochs, mean)
        with replacing(state) as temporary:
            states = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(states | {"epoch": epoch + 1, "loss": mean}, temporary)
    return mean


def _share(done: float) -> float:
    """Share of the peak learning rate: a twentieth of the way up, then a cosine."""
    return min(1.0, 20 * done + 0.01) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


def _loss(bundle: FlamingoBundle, votes: Votes, shown: torch.Tensor, said: Sequence[Sequence[int]]) -> torch.Tensor:
    """Binary cross-entropy of all words, summed, a photograph's share."""
    with torch.autocast(bundle.device.type, torch.bfloat16):
        logits = votes(bundle.model.latents(shown.float()))
    target = torch.zeros_like(logits)
    for number, words in enumerate(said):
        target[number, list(words)] = 1.0
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(said)
