"""CLIPScore of each paragraph of a rewritten caption (column ``clip_logits``; section 4.2).

A ``clip_logit`` is 100 times a cosine between image and text. Two modes:

- ``paper``: the authors' code. The text is cut at full stops, the first ten pieces count, the empty one after the last
  full stop included; their normalised features are averaged and not normalised again. The 17.0 threshold belongs to it.
- ``fixed``: real sentences only, all of them, those longer than the text tower can read in chunks.

Where a record has several images, a paragraph's score is its best: it need not describe all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ConfigError
from polite_flamingo.images import ImagePreprocessor, open_image
from polite_flamingo.model.vetting import check_loaded, loading, vet
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS, ScoreQuestion, score_records
from polite_flamingo.scorers.batching import ROWS, Batches, area_on
from polite_flamingo.scorers.classifier import check_folder, max_tokens, pick_dtype

if TYPE_CHECKING:
    import torch

MODES = ("paper", "fixed")
PAPER_SENTENCES = 10
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def ask(rewrite: Rewrite) -> ScoreQuestion | None:
    """The paragraphs and images of a caption; None for other tasks, without images and without text."""
    if not (rewrite.task.is_caption and rewrite.images and rewrite.paragraphs):
        return None
    return ScoreQuestion(rewrite.id, rewrite.paragraphs, tuple(image.path for image in rewrite.images))


class ClipScorer:
    """Per-paragraph scores by a CLIP model; each distinct image and each distinct sentence is encoded once.

    Args:
        model: A `CLIPModel` in evaluation mode.
        tokenizer: Its tokenizer.
        preprocess: PIL image -> tensor.
        device: Torch device the model is on.
        image_root: Folder the image paths are relative to.
        mode: ``paper`` or ``fixed``.
        batch_size: Most images or sentences per forward pass.
        threads: Images opened at the same time.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocess: ImagePreprocessor,
        device: str,
        *,
        image_root: Path,
        mode: str = "paper",
        batch_size: int = ROWS,
        threads: int = 2,
    ) -> None:
        if mode not in MODES:
            raise ConfigError("unknown CLIP mode", value=mode, where="score.clip_mode", next_step=" or ".join(MODES))
        self._model = model
        self._tokenizer = tokenizer
        self._preprocess = preprocess
        self._device = device
        self._image_root = image_root
        self._mode = mode
        self._threads = threads
        self._max_tokens = max_tokens(model.config.text_config, tokenizer)
        self._patches = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2 + 1
        size: dict[str, int] = {"rows": batch_size, "area": area_on(device)}
        self._images: Batches[str, torch.Tensor] = Batches(self._encode_images, self._areas, **size)
        self._texts: Batches[str, torch.Tensor] = Batches(self._encode_texts, self._lengths, **size)

    def score(self, rewrites: Sequence[Rewrite]) -> list[list[float] | None]:
        """One logit per paragraph of each caption; None for other tasks, without images and without text."""
        return score_records(self, [ask(rewrite) for rewrite in rewrites])

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[list[float]]:
        """One logit per text, rounded as published: the best of its images.

        Raises:
            ImageError: an image cannot be used.
        """
        images = self._images([path for question in questions for path in question.images])
        texts = self.text_features([text for question in questions for text in question.texts])
        return [
            [
                round(max(float(100.0 * images[path] @ texts[text]) for path in question.images), DECIMALS)
                for text in question.texts
            ]
            for question in questions
        ]

    def text_features(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Mean of the normalised features of a text's pieces, by text; not normalised again."""
        import torch

        pieces = {text: self.pieces(text) for text in dict.fromkeys(texts)}
        encoded = self._texts([piece for own in pieces.values() for piece in own])
        return {text: torch.stack([encoded[piece] for piece in own]).mean(0) for text, own in pieces.items()}

    def pieces(self, text: str) -> list[str]:
        """What of `text` is encoded: sentences, never none."""
        if self._mode == "paper":
            return text.split(".")[:PAPER_SENTENCES]
        sentences = [s.strip() for s in _SENTENCE.split(text) if s.strip()]
        return [chunk for s in sentences for chunk in ([s] if self._fits(s) else self._chunks(s))] or [text]

    def _chunks(self, sentence: str) -> list[str]:
        """`sentence` in pieces the text tower can read: between words, and inside a word that is too long alone."""
        glue = " " if " " in sentence else ""
        parts = sentence.split() if glue else list(sentence)
        most = self._max_tokens if glue else 8 * self._max_tokens  # a word is a token or more, a character may be less
        chunks: list[str] = []
        while parts:
            low, high = 1, min(len(parts), most)
            while low < high:  # the longest beginning that fits, at least one part
                middle = (low + high + 1) // 2
                low, high = (middle, high) if self._fits(glue.join(parts[:middle])) else (low, middle - 1)
            chunk = glue.join(parts[:low])
            chunks += self._chunks(chunk) if glue and low == 1 and not self._fits(chunk) else [chunk]
            parts = parts[low:]
        return chunks

    def _fits(self, text: str) -> bool:
        return len(self._tokenizer(text, verbose=False)["input_ids"]) <= self._max_tokens

    def _lengths(self, pieces: list[str]) -> list[int]:
        return [len(ids) for ids in self._tokens(pieces)["input_ids"]]

    def _tokens(self, pieces: list[str], **options: Any) -> Any:
        return self._tokenizer(pieces, truncation=True, max_length=self._max_tokens, **options)

    def _encode_texts(self, pieces: list[str]) -> list[torch.Tensor]:
        import torch

        inputs = self._tokens(pieces, padding=True, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            return _normalise(
                self._model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            )

    def _areas(self, paths: list[str]) -> list[int]:
        return [self._patches] * len(paths)

    def _encode_images(self, paths: list[str]) -> list[torch.Tensor]:
        import torch

        with ThreadPoolExecutor(self._threads) as pool:
            distinct = list(dict.fromkeys(paths))
            opened = dict(zip(distinct, pool.map(self._open, distinct), strict=True))
        pixels = torch.stack([opened[path] for path in paths])
        with torch.inference_mode():
            return _normalise(
                self._model.get_image_features(pixel_values=pixels.to(self._device, self._model.dtype))
            )  # fmt: skip

    def _open(self, path: str) -> torch.Tensor:
        return self._preprocess(open_image(self._image_root, path))


def _normalise(output: Any) -> list[torch.Tensor]:
    features = getattr(output, "pooler_output", output).float().cpu()
    return [row.clone() for row in features / features.norm(p=2, dim=-1, keepdim=True)]  # no view of the whole batch


def load_clip(
    folder: Path,
    *,
    image_root: Path,
    device: str = "auto",
    mode: str = "paper",
    batch_size: int = ROWS,
    dtype: str = "float32",
    threads: int = 2,
) -> ClipScorer:
    """Load a `CLIPModel`, or a `model.image_text.ImageText`, with tokenizer and preprocessing values.

    Safetensors only, no remote code, no network.
    """
    from transformers import AutoTokenizer, CLIPModel

    from polite_flamingo.model.image_text import CONFIG, TEXT, load_image_text

    check_folder(folder)
    device = pick_device(device)
    weights = pick_dtype(dtype, device)
    joined = (folder / CONFIG).is_file()
    with loading("CLIP model", folder):
        if joined:
            model: Any = load_image_text(folder, weights)
        else:
            vet(folder)
            model, found = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=weights, output_loading_info=True
            )
            check_loaded(model, found, folder)
        texts = folder / TEXT if joined else folder
        tokenizer = AutoTokenizer.from_pretrained(texts, local_files_only=True, trust_remote_code=False)
    return ClipScorer(
        model.to(device).eval(),
        tokenizer,
        ImagePreprocessor.from_folder(folder),
        device,
        image_root=image_root,
        mode=mode,
        batch_size=batch_size,
        threads=threads,
    )
