"""CLIPScore of each paragraph of a rewritten caption (column ``clip_logits``; section 3.3).

A ``clip_logit`` is 100 times a cosine between image and text. Two modes:

- ``paper``: the authors' code. The text is cut at full stops, the first ten pieces count, the empty one after the last
  full stop included; their normalised features are averaged and not normalised again. The 17.0 threshold belongs to it.
- ``fixed``: real sentences only, all of them, those longer than the text tower can read in chunks.

Where a record has several images, a paragraph's score is its best: it need not describe all of them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.imaging import ImagePreprocessor
from polite_flamingo.io import open_image
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.classifier import check_folder, max_tokens

if TYPE_CHECKING:
    import torch

MODES = ("paper", "fixed")
PAPER_SENTENCES = 10
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class ClipScorer:
    """Per-paragraph scores by a CLIP model.

    Args:
        model: A `CLIPModel` in evaluation mode.
        tokenizer: Its tokenizer.
        preprocess: PIL image -> tensor.
        device: Torch device the model is on.
        image_root: Folder the image paths are relative to.
        mode: ``paper`` or ``fixed``.
        batch_size: Images or sentences per forward pass.
        cached_images: Image features kept; the least recently used go first.
    """

    column = "clip_logits"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocess: ImagePreprocessor,
        device: str,
        *,
        image_root: Path,
        mode: str = "paper",
        batch_size: int = 64,
        cached_images: int = 4096,
    ) -> None:
        if mode not in MODES:
            raise ConfigError("unknown CLIP mode", value=mode, where="score.clip_mode", next_step=" or ".join(MODES))
        self._model = model
        self._tokenizer = tokenizer
        self._preprocess = preprocess
        self._device = device
        self._image_root = image_root
        self._mode = mode
        self._batch_size = batch_size
        self._cached_images = cached_images
        self._images: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._max_tokens = max_tokens(model.config.text_config, tokenizer)

    def score(self, rewrites: Sequence[Rewrite]) -> list[list[float] | None]:
        """One logit per paragraph of each caption, rounded to 4 decimals; None for other tasks and without images."""
        places = [i for i, r in enumerate(rewrites) if r.task.is_caption and r.images]
        images = self.image_features([image.path for i in places for image in rewrites[i].images])
        texts = self.text_features([p for i in places for p in rewrites[i].paragraphs])
        result: list[list[float] | None] = [None] * len(rewrites)
        for i in places:
            shown = [images[image.path] for image in rewrites[i].images]
            result[i] = [
                round(max(float(100.0 * image @ texts[p]) for image in shown), 4) for p in rewrites[i].paragraphs
            ]
        return result

    def image_features(self, paths: Sequence[str]) -> dict[str, torch.Tensor]:
        """Normalised features by path; every image is opened and encoded once while it stays in the cache."""
        import torch

        wanted = list(dict.fromkeys(paths))
        found: dict[str, torch.Tensor] = {}
        for path in wanted:
            if path in self._images:
                self._images.move_to_end(path)
                found[path] = self._images[path]
        missing = [path for path in wanted if path not in found]
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            pixels = torch.stack([self._preprocess(open_image(self._image_root, path)) for path in batch])
            with torch.inference_mode():
                output = self._model.get_image_features(pixel_values=pixels.to(self._device))
            found.update(zip(batch, _normalise(output), strict=True))
            for path in batch:
                self._images[path] = found[path]
            while len(self._images) > self._cached_images:
                self._images.popitem(last=False)
        return found

    def text_features(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Mean of the normalised features of a text's pieces, by text; not normalised again."""
        import torch

        pieces = {text: self.pieces(text) for text in dict.fromkeys(texts)}
        encoded = self._encode(list(dict.fromkeys(piece for found in pieces.values() for piece in found)))
        return {text: torch.stack([encoded[p] for p in found]).mean(0) for text, found in pieces.items()}

    def pieces(self, text: str) -> list[str]:
        """What of `text` is encoded: sentences, never none."""
        if self._mode == "paper":
            return text.split(".")[:PAPER_SENTENCES]
        sentences = [s.strip() for s in _SENTENCE.split(text) if s.strip()]
        return [chunk for s in sentences for chunk in self._chunks(s)] or [text]

    def _chunks(self, sentence: str) -> list[str]:
        words = sentence.split()
        chunks: list[list[str]] = [[]]
        for word in words:
            if chunks[-1] and not self._fits(" ".join([*chunks[-1], word])):
                chunks.append([])
            chunks[-1].append(word)
        return [" ".join(chunk) for chunk in chunks]

    def _fits(self, text: str) -> bool:
        return len(self._tokenizer(text)["input_ids"]) <= self._max_tokens

    def _encode(self, pieces: Sequence[str]) -> dict[str, torch.Tensor]:
        import torch

        found: dict[str, torch.Tensor] = {}
        order = sorted(pieces, key=lambda piece: (len(piece), piece))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            inputs = self._tokenizer(
                batch, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
            ).to(self._device)
            with torch.inference_mode():
                output = self._model.get_text_features(
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
                )
            found.update(zip(batch, _normalise(output), strict=True))
        return found


def _normalise(output: Any) -> torch.Tensor:
    features = getattr(output, "pooler_output", output).float().cpu()
    return features / features.norm(p=2, dim=-1, keepdim=True)


def load_clip(
    folder: Path,
    *,
    image_root: Path,
    device: str = "auto",
    mode: str = "paper",
    batch_size: int = 64,
    cached_images: int = 4096,
) -> ClipScorer:
    """Load a `CLIPModel` with tokenizer and preprocessing values: safetensors only, no remote code, no network."""
    from transformers import AutoTokenizer, CLIPModel

    check_folder(folder)
    device = pick_device(device)
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("CLIP model cannot be loaded", value=str(error), where=folder) from error
    return ClipScorer(
        model.to(device).eval(),
        tokenizer,
        ImagePreprocessor.from_folder(folder),
        device,
        image_root=image_root,
        mode=mode,
        batch_size=batch_size,
        cached_images=cached_images,
    )
