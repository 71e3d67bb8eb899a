"""A small CLIP of the embedded world: contrastive, with statements that are true or false of an image.

Three losses: InfoNCE between images and full descriptions; whether a statement is true of an image (so that the CLIP
logit of a hallucinated sentence is low); and the attributes of each cell from its patch tokens (so that the tokens the
connector reads carry where a thing is). The heads of the last one are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.world import language as say
from polite_flamingo.world.scenes import draw_image, draw_scene, layout
from polite_flamingo.world.vocabulary import COLORS, POSITIONS, SHAPES, SIZES, Scene, SceneObject, article, listing

HIDDEN = 128
PATCH = 8
NEUTRAL = (
    "",
    " Let me know if you have any other questions!",
    " I hope this helps!",
    "Please let me know if you would like to know more about the image",
    "The rest of the image is empty, so the shape is the main focus of the scene",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence and what it claims: every claim must match one object (None matches anything)."""

    text: str
    claims: tuple[tuple[str | None, str | None, str | None, str | None], ...]  # size, color, shape, position

    def true_of(self, scene: Scene) -> bool:
        """True when every claim matches an object of `scene`."""
        return all(
            any(
                (size in (None, t.size))
                and (color in (None, t.color))
                and (shape in (None, t.shape))
                and (position in (None, t.position))
                for t in scene
            )
            for size, color, shape, position in self.claims
        )


Texts = tuple[list[str], list[Statement]]


def statement(scene: Scene, rng: Random) -> Statement:
    """A true sentence about one to three objects of `scene`, in one of the forms the world uses."""
    some = rng.sample(scene, min(len(scene), rng.choice((1, 1, 2, 3))))
    sized, placed = rng.random() < 0.5, rng.random() < 0.6
    parts = []
    claims = []
    for t in some:
        words = f"{t.size} {t.name}" if sized else t.name
        parts.append(article(words) + (f" in the {t.position}" if placed else ""))
        claims.append((t.size if sized else None, t.color, t.shape, t.position if placed else None))
    lead = rng.choice(("", "There is ", "In addition, there is ", "The image shows ", "Additionally, there are "))
    text = lead + listing(parts)
    return Statement(text[0].upper() + text[1:], tuple(claims))


def falsified(scene: Scene, rng: Random) -> Statement:
    """A sentence like `statement`, with one object's colour, shape (or both) replaced so that it is false."""
    while True:
        index = rng.randrange(len(scene))
        things = list(scene)
        old = things[index]
        kind = rng.randrange(3)
        color = old.color if kind == 1 else rng.choice(COLORS)
        shape = old.shape if kind == 0 else rng.choice(SHAPES)
        things[index] = SceneObject(color, shape, old.size, old.position)
        claim = statement((things[index], *rng.sample(scene, rng.randint(0, min(2, len(scene))))), rng)
        if not claim.true_of(scene):
            return claim


def draw_world(seed: str, count: int, image_size: int) -> tuple[list[Scene], Any]:
    """Render `count` scenes; returns them and their images, uint8 of shape (count, 3, size, size)."""
    import numpy as np
    import torch

    scenes, images = [], np.empty((count, 3, image_size, image_size), dtype=np.uint8)
    for index in range(count):
        rng = Random(f"{seed}:{index}")
        scene = draw_scene(rng, held_out=rng.random() < 0.05)
        scenes.append(scene)
        images[index] = np.asarray(draw_image(scene, layout(scene, image_size, rng), image_size, rng)).transpose(
            2, 0, 1
        )
    return scenes, torch.from_numpy(images)


def draw_scenes(scenes: list[Scene], seed: str, image_size: int) -> Any:
    """Render given scenes; uint8 of shape (len(scenes), 3, size, size)."""
    import numpy as np
    import torch

    images = np.empty((len(scenes), 3, image_size, image_size), dtype=np.uint8)
    for index, scene in enumerate(scenes):
        rng = Random(f"{seed}:{index}")
        images[index] = np.asarray(draw_image(scene, layout(scene, image_size, rng), image_size, rng)).transpose(
            2, 0, 1
        )
    return torch.from_numpy(images)


def normalise(images: Any) -> Any:
    """uint8 (B, 3, H, W) to floats as the shipped preprocessor_config.json has them (mean 0.5, std 0.5)."""
    return (images.float() / 255 - 0.5) / 0.5


def train_clip(folder: Path, *, image_size: int, steps: int, batch: int, seed: int, scenes: int) -> dict[str, float]:
    """Train, save to `folder` as a Hugging Face CLIPModel, and return held-out figures.

    Returns:
        ``recall_at_1`` (image to full description among 100) and ``statement_auc`` (true against falsified statements).
    """
    import torch
    from torch import nn
    from tqdm import tqdm

    from polite_flamingo.world.training.tokenizer import train_tokenizer

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed, "single")
    model = _new(tokenizer, image_size)
    heads = _Heads.new()
    world, images = draw_world(f"{seed}:clip", scenes, image_size)
    parameters = [*model.parameters(), *heads.cells.parameters(), heads.truth]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    cell_targets = torch.tensor([_cells(scene) for scene in world])
    order = Random(f"{seed}:clip:order")
    model.train()
    with tqdm(range(steps), desc="clip", unit="step", mininterval=1.0) as bar:
        for _ in bar:
            chosen = order.sample(range(len(world)), batch)
            drawn = [world[i] for i in chosen]
            full = [say.detail(scene, order).replace("\n\n", " ").split(" The ")[0] for scene in drawn]
            claims = [statement(scene, order) for scene in drawn] + [falsified(scene, order) for scene in drawn]
            vision = model.vision_model(normalise(images[chosen]))
            attributes = _cell_loss(heads.cells, vision.last_hidden_state[:, 1:], cell_targets[chosen])
            texts = full, claims
            contrastive, truthful, quiet = _text_losses(model, tokenizer, vision.pooler_output, drawn, texts, heads)
            loss = contrastive + truthful + 5 * quiet + attributes
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", truth=f"{truthful.item():.3f}", cells=f"{attributes.item():.3f}")
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _save_preprocessor(folder, image_size)
    return measure_clip(folder, seed=seed)


def _new(tokenizer: Any, image_size: int) -> Any:
    """A CLIPModel with fresh weights."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        projection_dim=HIDDEN,
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "bos_token_id": tokenizer.eos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": image_size,
            "patch_size": PATCH,
        },
    )
    model = CLIPModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
    return model


@dataclass(frozen=True, slots=True)
class _Heads:
    """What is trained beside the model and thrown away."""

    cells: Any  # attributes of a cell from its patch tokens
    truth: Any  # scale and shift from a cosine to whether a statement is true

    @classmethod
    def new(cls) -> _Heads:
        import torch
        from torch import nn

        cells = nn.Linear(HIDDEN, len(COLORS) + len(SHAPES) + len(SIZES) + 3)
        return cls(cells, nn.Parameter(torch.tensor([8.0, -1.0])))


def _text_losses(
    model: Any, tokenizer: Any, pooled: Any, scenes: list[Scene], texts: Texts, heads: _Heads
) -> tuple[Any, Any, Any]:
    """InfoNCE with the descriptions, whether each claim is true of each scene, and silence of neutral sentences.

    Args:
        model: The CLIPModel.
        tokenizer: Its own.
        pooled: Of the images (B, d).
        scenes: On the images.
        texts: A description of each scene; a true statement about each, then a false one about each.
        heads: Scale and shift of the truth.
    """
    import torch
    import torch.nn.functional as F

    (full, claims), batch = texts, len(scenes)
    image_features = F.normalize(model.visual_projection(pooled), dim=-1)
    text_features = _text(model, tokenizer, full + [c.text for c in claims])
    neutral = _text(model, tokenizer, list(NEUTRAL))
    logits = model.logit_scale.exp() * image_features @ text_features[:batch].T
    target = torch.arange(batch)
    contrastive = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    truth = torch.tensor([[c.true_of(scene) for c in claims] for scene in scenes], dtype=torch.float32)
    predicted = heads.truth[0] * (image_features @ text_features[batch:].T) + heads.truth[1]
    weight = torch.where(truth > 0, truth.numel() / (2 * truth.sum()), truth.numel() / (2 * (1 - truth).sum()))
    own = torch.zeros_like(weight)
    own[target, target] = own[target, target + batch] = batch / 2
    truthful = F.binary_cross_entropy_with_logits(predicted, truth, weight=weight + own)
    return contrastive, truthful, (image_features @ neutral.T).pow(2).mean()


def _save_preprocessor(folder: Path, image_size: int) -> None:
    """Write how images are prepared, as Hugging Face's CLIP does."""
    from polite_flamingo.io.text import write_json

    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": image_size},
            "do_center_crop": True,
            "crop_size": {"height": image_size, "width": image_size},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "do_convert_rgb": True,
        },
    )


def measure_clip(folder: Path, *, seed: int) -> dict[str, float]:
    """Held-out figures of a saved CLIP of the world, on scenes no training saw."""
    import torch
    import torch.nn.functional as F
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scenes, images = draw_world(f"{seed}:clip:held_out", 400, model.config.vision_config.image_size)
    rng = Random(f"{seed}:clip:measure")
    with torch.no_grad():
        pooled = model.vision_model(normalise(images)).pooler_output
        features = F.normalize(model.visual_projection(pooled), dim=-1)
        full = [say.detail(s, rng).replace("\n\n", " ").split(" The ")[0] for s in scenes[:100]]
        hits = (features[:100] @ _text(model, tokenizer, full).T).argmax(dim=1) == torch.arange(100)
        true = (features * _text(model, tokenizer, [statement(s, rng).text for s in scenes])).sum(-1)
        false = (features * _text(model, tokenizer, [falsified(s, rng).text for s in scenes])).sum(-1)
    return {
        "recall_at_1": round(hits.float().mean().item(), 4),
        "statement_auc": round((true[:, None] > false[None]).float().mean().item(), 4),
    }


def _text(model: Any, tokenizer: Any, texts: list[str]) -> Any:
    import torch.nn.functional as F

    encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
    pooled = model.text_model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


def _cells(scene: Scene) -> list[list[int]]:
    """Colour, shape and size index of each of the four cells; the last index of each means empty."""
    at = {t.position: t for t in scene}
    rows = []
    for position in POSITIONS:
        t = at.get(position)
        rows.append(
            [len(COLORS), len(SHAPES), len(SIZES)]
            if t is None
            else [COLORS.index(t.color), SHAPES.index(t.shape), SIZES.index(t.size)]
        )
    return rows


def _cell_loss(head: Any, tokens: Any, targets: Any) -> Any:
    import torch.nn.functional as F

    batch, count, width = tokens.shape
    side = int(count**0.5)
    grid = tokens.view(batch, 2, side // 2, 2, side // 2, width).mean(dim=(2, 4)).reshape(batch, 4, width)
    out = head(grid).split([len(COLORS) + 1, len(SHAPES) + 1, len(SIZES) + 1], dim=-1)
    return sum(F.cross_entropy(o.flatten(0, 1), targets[..., i].flatten()) for i, o in enumerate(out))
