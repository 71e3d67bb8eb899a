"""The loop that trains the laptop's connector and rewriter: few lines, exact resumption, features from the store.

The house's own loop (`train.loop`) reads shards of records and pictures; here each picture's tokens lie in memory and
texts are drawn anew in every epoch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from polite_flamingo.io.files import replacing
from polite_flamingo.model.bundle import FlamingoBundle, named_tensors
from polite_flamingo.model.tokens import encode, piece, plain

LOG = logging.getLogger(__name__)
IGNORED = -100
SORTED = 40  # batches whose examples are sorted by length together
LOG_EVERY = 25
NO_IMAGE = -1
SHOWN = 0.7  # of a photograph's patches in a step of training
STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class Text:
    """What is learned: to continue `prompt` by `answer`; `row` is the image's in the store, or `NO_IMAGE`.

    `more` are further turns of the same dialogue, prompts and answers.
    """

    prompt: str
    answer: str
    row: int = NO_IMAGE
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FitRecipe:
    """How long and how fast.

    Args:
        epochs: Passes over the drawn texts.
        batch: Texts per step.
        learning_rate: Peak, after `warmup`; cosine to a twentieth.
        warmup: Share of all steps.
        weight_decay: AdamW's.
        gate_factor: The gates' learning rate over the others'.
        longest: Most tokens of a text; longer ones are left out.
        most: Texts of an epoch at most, drawn at random; 0: all.
        save_every: Steps between checkpoints.
        steps: Stop after so many steps; 0: never.
        measured: Held-out texts of a kind that are measured, at most.
    """

    epochs: int
    batch: int = 64
    learning_rate: float = 5e-4
    warmup: float = 0.05
    weight_decay: float = 0.05
    gate_factor: float = 10.0
    longest: int = 256
    most: int = 0
    save_every: int = 200
    steps: int = 0
    measured: int = 500


Encoded = tuple[list[int], list[int], int]  # ids, labels, row


def fit(
    bundle: FlamingoBundle,
    features: torch.Tensor,
    draw: Callable[[int], Sequence[Text]],
    recipe: FitRecipe,
    folder: Path,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Train what requires gradients; resumes from the checkpoint in `folder`.

    Args:
        bundle: The model.
        features: Dressed patch tokens of all images (N, v, d), on the model's device.
        draw: Texts of an epoch.
        recipe: Hyperparameters.
        folder: Where the checkpoint lies.
        seed: Seed of the order.

    Returns:
        Last mean loss, steps and seconds.
    """
    learned = {name: tensor for name, tensor in named_tensors(bundle.model).items() if tensor.requires_grad}
    optimizer = _optimizer(learned, recipe)
    state = folder / STATE
    epoch, done, step, spent = _resume(state, learned, optimizer)
    recent: list[float] = []
    began = time.monotonic() - spent
    while epoch < recipe.epochs and not 0 < recipe.steps <= step:
        drawn = draw(epoch)
        if 0 < recipe.most < len(drawn):
            drawn = Random(f"{seed}:{epoch}:most").sample(drawn, recipe.most)
        encoded = _encode(bundle.tokenizer, drawn, recipe.longest)
        batches = _batches(encoded, recipe.batch, Random(f"{seed}:{epoch}:order"))
        for index, batch in enumerate(batches):
            if index < done:
                continue
            _set_rate(optimizer, recipe, (epoch + index / len(batches)) / recipe.epochs)
            recent = [*recent[1 - LOG_EVERY :], _step(bundle, features, batch, optimizer, learned, step)]
            step += 1
            if step % LOG_EVERY == 0 or step == recipe.steps:
                seconds, mean = time.monotonic() - began, sum(recent) / len(recent)
                LOG.info(
                    "epoch %d, %d of %d: loss %.4f, %.0f s, %.2f s a step",
                    epoch, index + 1, len(batches), mean, seconds, seconds / step,
                )  # fmt: skip
            if step % recipe.save_every == 0:
                _save(state, learned, optimizer, (epoch, index + 1, step, time.monotonic() - began))
            if step == recipe.steps:
                epoch = recipe.epochs
                break
        epoch, done = epoch + 1, 0
    _save(state, learned, optimizer, (recipe.epochs, 0, step, time.monotonic() - began))
    last = {"loss": sum(recent) / len(recent)} if recent else {}  # none where nothing was left to do
    return {**last, "steps": step, "seconds": time.monotonic() - began}


def mean_loss(bundle: FlamingoBundle, features: torch.Tensor, texts: Sequence[Text], batch: int = 64) -> float:
    """Negative log-likelihood per learned token (nats)."""
    total, count = 0.0, 0
    encoded = _encode(bundle.tokenizer, texts, 1024)
    for part in _batches(encoded, batch, Random(0)):
        with torch.no_grad():
            loss, tokens = _loss(bundle, features, part)
        total, count = total + float(loss), count + tokens
    return total / max(count, 1)


def _encode(tokenizer: Any, texts: Sequence[Text], longest: int) -> list[Encoded]:
    prompts: dict[str, list[int]] = {}
    encoded = []
    for text in texts:
        ids: list[int] = []
        labels: list[int] = []
        for asked, answer in ((text.prompt, text.answer), *text.more):
            if asked not in prompts:
                prompts[asked] = encode(tokenizer, asked)
            answered = [*piece(tokenizer, plain(tokenizer, answer)), tokenizer.eos_token_id]
            ids += prompts[asked] + answered
            labels += [IGNORED] * len(prompts[asked]) + answered
        if len(ids) <= longest:
            encoded.append((ids, labels, text.row))
    if len(encoded) < len(texts):
        LOG.info("%d of %d texts are longer than %d tokens: left out", len(texts) - len(encoded), len(texts), longest)
    return encoded


def _batches(encoded: Sequence[Encoded], size: int, rng: Random) -> list[list[Encoded]]:
    """Batches of near-equal lengths in random order."""
    order = list(range(len(encoded)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), SORTED * size):
        chunk = sorted(order[start : start + SORTED * size], key=lambda i: len(encoded[i][0]))
        batches += [[encoded[i] for i in chunk[at : at + size]] for at in range(0, len(chunk), size)]
    rng.shuffle(batches)
    return batches


def _loss(
    bundle: FlamingoBundle, features: torch.Tensor, batch: Sequence[Encoded], patches: torch.Tensor | None = None
) -> tuple[torch.Tensor, int]:
    """Summed loss and the number of learned tokens. Texts are padded at the end, where nothing is learned.

    Of each picture the patches of `patches` alone are shown; None: all.
    """
    width = -(-max(len(ids) for ids, _, _ in batch) // 8) * 8
    ids = torch.full((len(batch), width), bundle.tokenizer.pad_token_id)
    labels = torch.full((len(batch), width), IGNORED)
    for place, (tokens, learned, _) in enumerate(batch):
        ids[place, : len(tokens)] = torch.tensor(tokens)
        labels[place, : len(tokens)] = torch.tensor(learned)
    device = bundle.device
    rows = torch.tensor([max(row, 0) for _, _, row in batch], device=device)
    with torch.autocast(device.type, torch.bfloat16):
        loss = bundle.model.supervised_loss(
            ids.to(device),
            None,
            labels.to(device),
            (features[rows] if patches is None else features[rows][:, patches.to(device)]).float(),
            torch.arange(len(batch), device=device)[:, None],
        )
    return loss, int((labels[:, 1:] != IGNORED).sum())


def some_patches(patches: int, step: int) -> torch.Tensor:
    """Which patches a step shows: others every time, so that few photographs are hard to learn by heart."""
    order = torch.randperm(patches, generator=torch.Generator().manual_seed(step))
    return order[: max(1, round(SHOWN * patches))]


def _step(
    bundle: FlamingoBundle,
    features: torch.Tensor,
    batch: Sequence[Encoded],
    optimizer: torch.optim.Optimizer,
    learned: dict[str, torch.nn.Parameter],
    step: int,
) -> float:
    loss, tokens = _loss(bundle, features, batch, some_patches(features.shape[1], step))
    loss = loss / max(tokens, 1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _optimizer(learned: dict[str, torch.nn.Parameter], recipe: FitRecipe) -> torch.optim.Optimizer:
    gates = [tensor for name, tensor in learned.items() if name.endswith("_gate")]
    flat = [tensor for name, tensor in learned.items() if not name.endswith("_gate") and tensor.ndim < 2]
    matrices = [tensor for name, tensor in learned.items() if not name.endswith("_gate") and tensor.ndim >= 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay, "factor": 1.0},
        {"params": flat, "weight_decay": 0.0, "factor": 1.0},
        {"params": gates, "weight_decay": 0.0, "factor": recipe.gate_factor},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, betas=(0.9, 0.98))


def _set_rate(optimizer: torch.optim.Optimizer, recipe: FitRecipe, share: float) -> None:
    if share < recipe.warmup:
        factor = (share + 1e-3) / (recipe.warmup + 1e-3)
    else:
        factor = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (share - recipe.warmup) / (1 - recipe.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * factor * group["factor"]


def _save(
    path: Path,
    learned: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    place: tuple[int, int, int, float],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        tensors = {name: tensor.detach() for name, tensor in learned.items()}
        torch.save({"learned": tensors, "optimizer": optimizer.state_dict(), "place": place}, temporary)


def _resume(
    path: Path, learned: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, int, int, float]:
    """Epoch, batches of it, steps and seconds that are behind."""
    if not path.is_file():
        return 0, 0, 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, tensor in learned.items():
            tensor.copy_(state["learned"][name])
    optimizer.load_state_dict(state["optimizer"])
    epoch, done, step, spent = state["place"]
    LOG.info("resumed after %d steps", step)
    return epoch, done, step, spent


def start(bundle: FlamingoBundle, folder: Path) -> None:
    """Begin with what an earlier step of the training learned: the checkpoint in `folder`."""
    known = named_tensors(bundle.model)
    with torch.no_grad():
        for name, tensor in torch.load(folder / STATE, map_location="cpu", weights_only=True)["learned"].items():
            known[name].copy_(tensor)


def named(bundle: FlamingoBundle, pick: Callable[[str], bool]) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Parameters whose name is picked."""
    yield from ((name, tensor) for name, tensor in named_tensors(bundle.model).items() if pick(name))
