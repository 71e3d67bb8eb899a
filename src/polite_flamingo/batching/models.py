"""The kinds of models an engine can own: a Flamingo, a chat model of text alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from cachetools import LRUCache

from polite_flamingo.batching.tickets import EngineRequest, PromptTooLongError
from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.jobs.backends.chat_model import ChatModel
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.causal import CausalModel, context_length
from polite_flamingo.model.generate import few_threads, text_of_tokens
from polite_flamingo.model.tokens import SYSTEM, begin, encode, piece

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PILImage

IMAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """An image as the model takes it.

    Args:
        key: Hash of its pixels, so that equal images are encoded once and no other is ever taken for it.
        pixels: (3, H, W).
    """

    key: str
    pixels: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A request as an engine takes it.

    Args:
        request: What was asked, without its images: decoded ones are large.
        ids: Token ids of the prompt.
        images: As the model takes them.
    """

    request: EngineRequest
    ids: list[int]
    images: tuple[PreparedImage, ...]


class PromptReader(Protocol):
    """What prepares requests, in the thread or process of whoever asks."""

    @property
    def context(self) -> int:
        """Tokens that the model reads."""

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids and prepared images of a prompt.

        Raises:
            DataError: the prompt does not show its images.
        """


class BatchModel(PromptReader, Protocol):
    """A model that an engine can own."""

    causal: CausalModel
    tokenizer: Any
    prefix: Sequence[int]

    def latents(self, keys: Sequence[str], pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Latents (N, n, d) of images, in the engine's thread."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of tokens, the end excluded."""

    def running(self) -> AbstractContextManager[None]:
        """Around the engine's work, in its thread."""


def prepared(reader: PromptReader, request: EngineRequest) -> PreparedRequest:
    """A request as an engine takes it.

    Raises:
        PromptTooLongError: no room is left to answer.
        DataError: the prompt does not show its images, or asks for beams.
    """
    if request.settings.num_beams > 1:
        raise DataError("the engine decodes without beams", value=request.settings.num_beams)
    ids, images = reader.encode(request.prompt, request.images)
    if len(ids) >= reader.context:
        raise PromptTooLongError(len(ids), reader.context)
    return PreparedRequest(replace(request, images=()), ids, images)


@dataclass(frozen=True, slots=True)
class FlamingoReader:
    """Reads prompts for a Flamingo, without its weights: it can go to another process.

    Args:
        tokenizer: The model's.
        image_processor: The model's.
        media_token_id: Id of ``<image>``.
        context: Tokens that the model reads.
        device: Where the model is.
    """

    tokenizer: Any
    image_processor: ImagePreprocessor
    media_token_id: int
    context: int
    device: str

    @classmethod
    def of(cls, bundle: FlamingoBundle) -> FlamingoReader:
        """That of a loaded model."""
        context = context_length(bundle.model.lang_encoder)
        return cls(bundle.tokenizer, bundle.image_processor, bundle.media_token_id, context, str(bundle.device))

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids and prepared images of a prompt.

        Raises:
            DataError: the prompt does not show its images.
        """
        ids = encode(self.tokenizer, prompt)
        shown = ids.count(self.media_token_id)
        if shown != len(images):
            raise DataError(f"a prompt shows {shown} images and has {len(images)}")
        return ids, tuple(map(self._prepare, images))

    def _prepare(self, image: PILImage) -> PreparedImage:
        array = self.image_processor.array(image)
        digest = hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()
        return PreparedImage(f"sha256:{digest}", array)


class FlamingoModel:
    """A Flamingo: rewriter or assistant.

    Args:
        bundle: The model; an engine of it must be its only user.
        image_bytes: Most bytes of encoded images that are kept.
    """

    def __init__(self, bundle: FlamingoBundle, image_bytes: int = IMAGE_BYTES) -> None:
        self._bundle = replace(bundle, cache_bytes=0)  # its own would look at every weight each time
        self._latents: LRUCache[str, torch.Tensor] = LRUCache(image_bytes, getsizeof=attrgetter("nbytes"))
        self.reader = FlamingoReader.of(bundle)
        self.causal = CausalModel.of(bundle)
        self.tokenizer, self.context = self.reader.tokenizer, self.reader.context
        # Where text attends to the image after it, what stands before the first image depends on it.
        self.prefix: Sequence[int] = (
            begin(self.tokenizer) + piece(self.tokenizer, SYSTEM) if bundle.config.attend_previous else []
        )

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids and prepared images of a prompt.

        Raises:
            DataError: the prompt does not show its images.
        """
        return self.reader.encode(prompt, images)

    def latents(self, keys: Sequence[str], pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Latents (N, n, d) of images; each is encoded once and kept, the least recently used out."""
        if not keys:
            return self._bundle.image_latents((), None)
        rows = {key: self._latents.get(key) for key in keys}
        missing = [key for key, row in rows.items() if row is None]
        if missing:
            for key, row in zip(missing, self._bundle.image_latents(missing, None, pixels=pixels), strict=True):
                rows[key] = row
                if row.nbytes <= self._latents.maxsize:
                    self._latents[key] = row.clone()
        return torch.stack([row for key in keys if (row := rows[key]) is not None])

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of tokens, the end excluded."""
        return text_of_tokens(self._bundle, tokens)

    @contextmanager
    def running(self) -> Iterator[None]:
        """As many threads as pay for a model of this size."""
        with few_threads(self._bundle):
            yield


class TextModel:
    """A chat model of the Hugging Face kind, of text alone.

    Args:
        chat: The model.

    Raises:
        ModelError: its layers differ in what they attend to, or it sees images: rows of different length cannot share
            its steps.
    """

    prefix: Sequence[int] = ()

    def __init__(self, chat: ChatModel) -> None:
        config = chat.model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if chat.sees or kinds != {"full_attention"} or config._attn_implementation not in ("sdpa", "eager"):
            raise ModelError(
                "this model cannot be batched continuously",
                value=config.model_type,
                next_step="name a Flamingo, or a model of text whose layers all attend to everything (Llama, Qwen)",
            )
        self._chat = chat
        self.tokenizer = chat.tokenizer
        self.context = chat.context
        weights = next(chat.model.parameters())
        self.causal = CausalModel(
            lm=chat.model, device=weights.device, dtype=weights.dtype, pad=chat.tokenizer.pad_token_id, ends=chat.ends
        )

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids of a prompt.

        Raises:
            DataError: there are images.
        """
        if images:
            raise DataError("this model reads text alone", value=f"{len(images)} images")
        return list(self._chat.inputs([prompt], [()]).input_ids[0].tolist()), ()

    def latents(self, keys: Sequence[str], pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Refuse: there are none."""
        raise ModelError("this model sees no images")

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of tokens, the end excluded."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing special."""
        yield


def pixels_of(images: Sequence[PreparedImage]) -> dict[str, torch.Tensor]:
    """Preprocessed images by key."""
    return {image.key: torch.from_numpy(image.pixels) for image in images}
