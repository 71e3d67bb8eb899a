"""A small causal LM and the Flamingo connector on top of it, pretrained on images with text around them.

The stand-in for LLaMA and for OpenFlamingo's pretraining on image-text web data: the text is plain lines, never the
assistant's dialogue format. Three phases: text alone (`text_document`); pages about one image (`image_document`);
documents that say things twice, tersely and in full, about no, one or two images (`paired_document` and its
neighbours), which teach the LM to carry words over. Unlike OpenFlamingo, which keeps the LM frozen, LM and connector
are trained together, because the LM is tiny.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from polite_flamingo.prompts.templates import BOX_SENTENCE, IMAGE, format_boxes
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.scenes import change_scene, draw_scene, layout
from polite_flamingo.world.training.clip import PATCH, draw_scenes, draw_world, normalise
from polite_flamingo.world.vocabulary import COLORS, POSITIONS, SHAPES, SIZES, Scene

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle

HIDDEN = 128
LAYERS = 4
LINES = 8
Documents = tuple[list[str], Any, Any]  # texts, patch tokens of the their images, image of each slot


def text_document(rng: Random) -> str:
    """Text without an image: dialogues, descriptions, and notes quoted again (practice in copying)."""
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    draw = rng.random()
    if draw < 0.3:
        return "\n".join(f"{q} {a}" for q, a in say.small_talk(rng))
    if draw < 0.5:
        return "\n".join(say.captions(scene, rng)) + "\n" + say.detail(scene, rng)
    if draw < 0.8:
        questions = ask.questions(scene, rng)[:4]
        return "\n".join(f"{q.text} {q.answer}. {q.polite}" for q in questions)
    if draw < 0.9:
        q = ask.choice_question(scene, rng)
        return f"{q.text} {', '.join(q.choices)}? Answer: {q.answer}. {' '.join(q.rationales)}\n{q.polite}"
    question, answer = say.reasoning(scene, rng)
    return f"{question} {answer}"


def image_document(scene: Scene, rng: Random) -> str:
    """Text after an image: questions with short or full answers, captions and descriptions, one a line."""
    questions = ask.questions(scene, rng)[: LINES - 2]
    lines = [f"{q.text} {q.answer if rng.random() < 0.5 else q.polite}" for q in questions]
    lines.append(rng.choice(say.captions(scene, rng)[:2]))
    if rng.random() < 0.4:
        lines.append(say.detail(scene, rng))
    else:
        question, answer = rng.choice((ask.comparison(scene, rng), say.reasoning(scene, rng)))
        lines.append(f"{question} {answer}")
    rng.shuffle(lines)
    return "\n".join(lines)


def quoted_document(rng: Random) -> str:
    """A note and the same note again, so that the LM learns to carry words over."""
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    words = [w for q in rng.sample(ask.questions(scene, rng), 2) for w in q.polite.split()]
    rng.shuffle(words)
    note = " ".join(words[: rng.randint(3, 12)])
    return f"{note}\n{note}"


def paired_document(scene: Scene, rng: Random) -> str:
    """Text after an image that says things twice, tersely and in full: answers, or captions and a description."""
    if rng.random() < 0.35:
        terse = "\n".join(say.captions(scene, rng))
        if rng.random() < 0.5:
            corners = [
                [thing.name, x - r, y - r, x + r, y + r]
                for thing, (x, y, r) in zip(scene, layout(scene, 1.0, rng), strict=True)
            ]
            boxes = format_boxes(corners, 3)
            head = f"{BOX_SENTENCE}\n{boxes}" if rng.random() < 0.3 else terse
            terse = f"{head}\n{boxes}"
        return f"{terse}\n{say.detail(scene, rng)}"
    questions = ask.questions(scene, rng)[: LINES - 2]
    lines = [
        f"{q.text} {rng.choice((q.answer, f'{q.answer}. {q.polite}', f'{q.answer}. {q.polite}'))}" for q in questions
    ]
    choice = ask.choice_question(scene, rng)
    lines.append(f"{choice.text} Answer: {choice.answer}. {' '.join(choice.rationales)} {choice.polite}")
    compared = rng.choice(ask.clevr_questions(scene, rng))
    lines.append(f"{compared.text} {compared.answer}. {ask.polite_comparison(compared)}")
    rng.shuffle(lines)
    return "\n".join(lines)


def change_document(before: Scene, after: Scene, rng: Random) -> str:
    """Text after two images: what changed, tersely and in full."""
    terse = ". ".join(say.difference(before, after))
    return f"{terse}\n{say.polite_difference(before, after, rng)}"


def note_document(rng: Random) -> str:
    """Text alone: answers said tersely and in full, or notes and the same notes again (practice in copying)."""
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    if rng.random() < 0.5:
        return "\n".join(f"{q.text} {q.answer}. {q.polite}" for q in ask.questions(scene, rng)[:5])
    notes = []
    for _ in range(rng.randint(1, 3)):
        words = [w for q in rng.sample(ask.questions(scene, rng), 2) for w in q.polite.split()]
        rng.shuffle(words)
        notes.append(" ".join(words[: rng.randint(2, 10)]))
    return "\n".join([*notes, *notes])


def train_connector(
    folder: Path,
    clip_folder: Path,
    *,
    text_steps: int,
    steps: int,
    paired_steps: int,
    batch: int,
    seed: int,
    scenes: int,
) -> dict[str, float]:
    """Train LM, then LM and connector, on the frozen vision tower of `clip_folder`; save a Flamingo folder.

    Args:
        folder: Where the Flamingo goes.
        clip_folder: The small CLIP.
        text_steps: Steps of the first phase.
        steps: Steps of the second.
        paired_steps: Steps of the third, with an optimizer of its own.
        batch: Documents per step.
        seed: Decides everything.
        scenes: Number of images rendered.

    Returns:
        The figures of `measure_connector`.
    """
    import torch

    from polite_flamingo.model.flamingo import save_flamingo

    torch.manual_seed(seed)
    bundle = _new(clip_folder, seed)
    side = round(bundle.tower.size[0] ** 0.5) * PATCH
    world, images = draw_world(f"{seed}:connector", scenes, side)
    material = _Material(world, _tokens(bundle, images), batch)
    _fit(
        bundle,
        lambda step, rng: material.text(rng) if step < text_steps else material.page(rng),
        text_steps + steps,
        2e-3,
        f"{seed}:connector:order",
        "pages",
        multiple=None,
    )
    changed = [
        change_scene(scene, Random(f"{seed}:connector:change:{i}")) for i, scene in enumerate(world[: len(world) // 4])
    ]
    second = _tokens(bundle, draw_scenes(changed, f"{seed}:connector:changed", side))
    _fit(
        bundle,
        lambda _, rng: material.paired(rng, changed, second),
        paired_steps,
        1.5e-3,
        f"{seed}:connector:paired",
        "paired",
        multiple=32,
    )
    bundle.model.eval().requires_grad_(False)
    save_flamingo(bundle, folder)
    return measure_connector(folder, seed=seed)


def _new(clip_folder: Path, seed: int) -> FlamingoBundle:
    """A Flamingo with fresh weights on the vision tower of `clip_folder`, which stays as it is; its gates are open."""
    import torch
    from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from polite_flamingo.images import ImagePreprocessor
    from polite_flamingo.model.bundle import build_flamingo
    from polite_flamingo.model.config import CrossAttention, FlamingoConfig, Perceiver, VisionTokens
    from polite_flamingo.world.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(seed)
    lm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=3 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            rope_theta=10_000.0,
        )
    )
    bundle = build_flamingo(
        lm,
        tokenizer,
        CLIPVisionModel.from_pretrained(clip_folder),
        config=FlamingoConfig(
            cross_attn_every_n_layers=2,
            perceiver=Perceiver(depth=1, num_latents=16, dim_head=32, heads=4),
            xattn=CrossAttention(dim_head=32, heads=4),
            vision_tokens=VisionTokens(unit_variance=True, position_code=True),
        ),
        image_processor=ImagePreprocessor.from_folder(clip_folder),
        seed=seed,
    )
    for name, parameter in bundle.model.named_parameters():
        parameter.requires_grad_(not name.startswith("vision_encoder"))
        if name.endswith(("attn_gate", "ff_gate")):
            with torch.no_grad():
                parameter.fill_(0.87)  # tanh(0.87) = 0.7: a closed gate would need a long time to open
    return bundle


def _tokens(bundle: FlamingoBundle, images: Any) -> Any:
    """Patch tokens of images (N, v, d)."""
    import torch

    with torch.no_grad():
        return torch.cat([bundle.tower(normalise(chunk)) for chunk in images.split(128)])


@dataclass(frozen=True, slots=True)
class _Material:
    """Draws the documents of a step.

    Args:
        world: Scenes.
        tokens: Patch tokens of their images (N, v, d).
        batch: Documents per step.
    """

    world: list[Scene]
    tokens: Any
    batch: int

    def text(self, rng: Random) -> Documents:
        """Text without an image, now and then notes quoted again."""
        texts = [quoted_document(rng) if rng.random() < 0.3 else text_document(rng) for _ in range(self.batch)]
        return self._without_image(texts)

    def page(self, rng: Random) -> Documents:
        """Pages about one image."""
        return self._about_one(image_document, rng)

    def paired(self, rng: Random, changed: list[Scene], second: Any) -> Documents:
        """Documents that say things twice: about no image, a scene and its change, or one image.

        Args:
            rng: Decides.
            changed: The first scenes of the world after a change.
            second: Patch tokens of their images.
        """
        import torch

        kind = rng.random()
        if kind < 0.25:
            return self._without_image([note_document(rng) for _ in range(self.batch)])
        if kind < 0.4:
            chosen = rng.sample(range(len(changed)), self.batch)
            texts = [IMAGE * 2 + change_document(self.world[i], changed[i], rng) for i in chosen]
            first = torch.arange(self.batch)
            tokens = torch.cat([self.tokens[chosen], second[chosen]])
            return texts, tokens, torch.stack([first, first + self.batch], dim=1)
        return self._about_one(image_document if kind < 0.6 else paired_document, rng)

    def _without_image(self, texts: list[str]) -> Documents:
        import torch

        return texts, torch.zeros(1, *self.tokens.shape[1:]), torch.zeros(self.batch, 1, dtype=torch.long)

    def _about_one(self, document: Callable[[Scene, Random], str], rng: Random) -> Documents:
        import torch

        chosen = rng.sample(range(len(self.world)), self.batch)
        texts = [IMAGE + document(self.world[i], rng) for i in chosen]
        return texts, self.tokens[chosen], torch.arange(self.batch)[:, None]


def _fit(
    bundle: Any,
    documents: Callable[[int, Random], Documents],
    steps: int,
    rate: float,
    order: str,
    label: str,
    multiple: int | None,
) -> None:
    """Train everything that requires a gradient with a one-cycle schedule; text lengths are padded to `multiple`."""
    import torch
    from tqdm import tqdm

    model = bundle.model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.05)
    rng = Random(order)
    model.train()
    with tqdm(range(steps), desc=f"connector: {label}", unit="step", mininterval=1.0) as bar:
        for step in bar:
            texts, tokens, index = documents(step, rng)
            ids, mask, labels = _encode(bundle.tokenizer, texts, multiple)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.supervised_loss(ids, mask, labels, tokens, index) / (labels[:, 1:] != -100).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")


def measure_connector(folder: Path, *, seed: int, count: int = 200) -> dict[str, float]:
    """Held-out question accuracy of a saved Flamingo: the likeliest of the answers that the question admits.

    Returns:
        Accuracy per kind of question (``color``, ``shape``, ``size``, ``count``, ``position``, ``yes/no``) and overall.
    """
    import torch

    from polite_flamingo.model.flamingo import load_flamingo

    bundle = load_flamingo(folder)
    options = {
        "color": COLORS,
        "shape": SHAPES,
        "size": SIZES,
        "position": POSITIONS,
        "yes/no": ("yes", "no"),
        "count": ("0", "1", "2", "3", "4"),
    }
    world, images = draw_world(f"{seed}:connector:held_out", count, round(bundle.tower.size[0] ** 0.5) * PATCH)
    right: dict[str, list[bool]] = {}
    with torch.no_grad():
        tokens = bundle.tower(normalise(images))
        for i, scene in enumerate(world):
            for q in ask.questions(scene, Random(f"{seed}:connector:measure:{i}"))[:4]:
                choices = options[q.kind]
                ids, mask, _ = _encode(bundle.tokenizer, [f"{IMAGE}{q.text} {c}\n" for c in choices])
                out = bundle.model(
                    ids,
                    mask,
                    vision_tokens=tokens[i : i + 1],
                    image_index=torch.zeros(len(choices), 1, dtype=torch.long),
                ).logits.log_softmax(-1)
                gold = out[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1) * mask[:, 1:]
                prefix = len(bundle.tokenizer(f"{IMAGE}{q.text}")["input_ids"]) - 1
                best = gold[:, prefix:].sum(-1).argmax().item()
                right.setdefault(q.kind, []).append(choices[best] == q.answer)
    figures = {kind: round(sum(hits) / len(hits), 4) for kind, hits in sorted(right.items())}
    every = [hit for hits in right.values() for hit in hits]
    return {"accuracy": round(sum(every) / len(every), 4), **figures}


def _encode(tokenizer: Any, texts: Sequence[str], multiple: int | None = None) -> tuple[Any, Any, Any]:
    encoded = tokenizer(
        [t + tokenizer.eos_token for t in texts], return_tensors="pt", padding=True, pad_to_multiple_of=multiple
    )
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    media = tokenizer.convert_tokens_to_ids(["<image>", "<|endofchunk|>"])
    labels = ids.masked_fill(mask == 0, -100)
    for token in media:
        labels = labels.masked_fill(ids == token, -100)
    return ids, mask, labels
