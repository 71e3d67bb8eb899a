"""A small causal LM and the Flamingo connector on top of it, pretrained on images with text around them.

The stand-in for LLaMA and for OpenFlamingo's pretraining on image-text web data: the text is plain lines (captions,
questions with short or full answers), never the assistant's dialogue format. Unlike OpenFlamingo, which keeps the LM
frozen, the second phase trains LM and connector together, because the LM is tiny.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.prompts.templates import IMAGE
from polite_flamingo.sources import scene_language as say
from polite_flamingo.sources.scene_language import Scene
from polite_flamingo.sources.scenes import draw_scene
from polite_flamingo.train.backbones.clip import PATCH, draw_world, normalise

HIDDEN = 128
LAYERS = 4
LINES = 8
TEXT_SHARE = 0.25  # of the steps after the first, text-only phase


def text_document(rng: Random) -> str:
    """Text without an image: dialogues, descriptions, short answers beside full ones, and notes quoted again."""
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    draw = rng.random()
    if draw < 0.15:
        return "\n".join(f"{q} {a}" for q, a in say.small_talk(rng))
    if draw < 0.3:
        return "\n".join(say.captions(scene, rng)) + "\n" + say.detail(scene, rng)
    if draw < 0.6:
        return "\n".join(f"{q.text} {q.answer}. {q.polite}" for q in say.questions(scene, rng)[:5])
    if draw < 0.7:
        q = say.choice_question(scene, rng)
        return f"{q.text} {', '.join(q.choices)}? Answer: {q.answer}. {' '.join(q.rationales)}\n{q.polite}"
    if draw < 0.75:
        question, answer = say.reasoning(scene, rng)
        return f"{question} {answer}"
    return _quoted(scene, rng)


def _quoted(scene: Scene, rng: Random) -> str:
    """Notes and the same notes again, so that the LM learns to carry words over."""
    notes = []
    for _ in range(rng.randint(1, 3)):
        words = [w for q in rng.sample(say.questions(scene, rng), 2) for w in q.polite.split()]
        rng.shuffle(words)
        notes.append(" ".join(words[: rng.randint(2, 10)]))
    return "\n".join([*notes, *notes])


def image_document(scene: Scene, rng: Random) -> str:
    """Text after an image: questions with short answers, full ones or both, captions and descriptions, one a line."""
    asked = say.questions(scene, rng)[: LINES - 2]
    lines = [f"{q.text} {rng.choice((q.answer, q.polite, f'{q.answer}. {q.polite}'))}" for q in asked]
    lines.append(rng.choice(say.captions(scene, rng)[:2]))
    if rng.random() < 0.4:
        lines.append(say.detail(scene, rng))
    else:
        question, answer = rng.choice((say.comparison(scene, rng), say.reasoning(scene, rng)))
        lines.append(f"{question} {answer}")
    rng.shuffle(lines)
    return "\n".join(lines)


def train_connector(
    folder: Path, clip_folder: Path, *, text_steps: int, steps: int, batch: int, seed: int, scenes: int
) -> dict[str, float]:
    """Train LM, then LM and connector, on the frozen vision tower of `clip_folder`; save a Flamingo folder.

    Returns:
        The figures of `measure_connector`.
    """
    import torch
    from tqdm import tqdm
    from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from polite_flamingo.imaging import ImagePreprocessor
    from polite_flamingo.model.flamingo import (
        CrossAttention,
        FlamingoConfig,
        Perceiver,
        VisionTokens,
        build_flamingo,
        save_flamingo,
    )
    from polite_flamingo.train.backbones.tokenizer import train_tokenizer

    torch.manual_seed(seed)
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
    vision = CLIPVisionModel.from_pretrained(clip_folder)
    bundle = build_flamingo(
        lm,
        tokenizer,
        vision,
        config=FlamingoConfig(
            cross_attn_every_n_layers=2,
            perceiver=Perceiver(depth=1, num_latents=16, dim_head=32, heads=4),
            xattn=CrossAttention(dim_head=32, heads=4),
            vision_tokens=VisionTokens(unit_variance=True, position_code=True),
        ),
        image_processor=ImagePreprocessor.from_folder(clip_folder),
        seed=seed,
    )
    model = bundle.model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("vision_encoder"))
        if name.endswith(("attn_gate", "ff_gate")):
            with torch.no_grad():
                parameter.fill_(0.87)  # tanh(0.87) = 0.7: a closed gate would need a long time to open
    world, images = draw_world(f"{seed}:connector", scenes, vision.config.image_size)
    with torch.no_grad():
        tokens = torch.cat([bundle.tower(normalise(chunk)) for chunk in images.split(128)])
    del images
    dummy = torch.zeros(1, *tokens.shape[1:])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.01)
    total = text_steps + steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=total, pct_start=0.05)
    rng = Random(f"{seed}:connector:order")
    model.train()
    with tqdm(range(total), desc="connector", unit="step", mininterval=1.0) as bar:
        for step in bar:
            if step < text_steps or rng.random() < TEXT_SHARE:
                texts = [text_document(rng) for _ in range(batch)]
                shown, index = dummy, torch.zeros(batch, 1, dtype=torch.long)
            else:
                chosen = rng.sample(range(len(world)), batch)
                texts = [IMAGE + image_document(world[i], rng) for i in chosen]
                shown, index = tokens[chosen], torch.arange(batch)[:, None]
            ids, mask, labels = _encode(tokenizer, texts)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.supervised_loss(ids, mask, labels, shown, index) / (labels[:, 1:] != -100).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.eval().requires_grad_(False)
    save_flamingo(bundle, folder)
    return measure_connector(folder, seed=seed)


def measure_connector(folder: Path, *, seed: int, count: int = 200) -> dict[str, float]:
    """Held-out question accuracy of a saved Flamingo: the likeliest of the answers that the question admits.

    Returns:
        Accuracy per kind of question (``color``, ``shape``, ``size``, ``count``, ``position``, ``yes/no``) and overall.
    """
    import torch

    from polite_flamingo.model.flamingo import load_flamingo

    bundle = load_flamingo(folder)
    options = {
        "color": say.COLORS,
        "shape": say.SHAPES,
        "size": say.SIZES,
        "position": say.POSITIONS,
        "yes/no": ("yes", "no"),
        "count": ("0", "1", "2", "3", "4"),
    }
    world, images = draw_world(f"{seed}:connector:held_out", count, round(bundle.tower.size[0] ** 0.5) * PATCH)
    right: dict[str, list[bool]] = {}
    with torch.no_grad():
        tokens = bundle.tower(normalise(images))
        for i, scene in enumerate(world):
            for q in say.questions(scene, Random(f"{seed}:connector:measure:{i}"))[:4]:
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


def _encode(tokenizer: Any, texts: Sequence[str]) -> tuple[Any, Any, Any]:
    encoded = tokenizer(
        [t + tokenizer.eos_token for t in texts], return_tensors="pt", padding=True, pad_to_multiple_of=32
    )
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    media = tokenizer.convert_tokens_to_ids(["<image>", "<|endofchunk|>"])
    labels = ids.masked_fill(mask == 0, -100)
    for token in media:
        labels = labels.masked_fill(ids == token, -100)
    return ids, mask, labels
