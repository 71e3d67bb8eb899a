"""The kinds of models an engine can own: a Flamingo, a chat model of text alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.jobs.backends.chat_model import ChatModel
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.causal import CausalModel, context_length
from polite_flamingo.model.generate import few_threads, text_of_tokens
from polite_flamingo.model.tokens import SYSTEM, begin, encode, piece

if TYPE_CHECKING:
    import torch
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
    pixels: torch.Tensor


class BatchModel(Protocol):
    """A model that an engine can own."""

    causal: CausalModel
    tokenizer: Any
    context: int
    prefix: Sequence[int]

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids and prepared images of a prompt; called in the thread of whoever asks.

        Raises:
            DataError: the prompt does not show its images.
        """

    def latents(self, keys: Sequence[str], pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Latents (N, n, d) of images, in the engine's thread."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of tokens, the end excluded."""

    def running(self) -> AbstractContextManager[None]:
        """Around the engine's work, in its thread."""


class FlamingoModel:
    """A Flamingo: rewriter or assistant.

    Args:
        bundle: The model; an engine of it must be its only user.
        image_bytes: Most bytes of encoded images that are kept.
    """

    def __init__(self, bundle: FlamingoBundle, image_bytes: int = IMAGE_BYTES) -> None:
        self._bundle = replace(bundle, cache_bytes=image_bytes)
        self.causal = CausalModel.of(bundle)
        self.tokenizer = bundle.tokenizer
        self.context = context_length(bundle.model.lang_encoder)
        # Where text attends to the image after it, what stands before the first image depends on it.
        self.prefix: Sequence[int] = (
            begin(self.tokenizer) + piece(self.tokenizer, SYSTEM) if bundle.config.attend_previous else []
        )

    def encode(self, prompt: str, images: Sequence[PILImage]) -> tuple[list[int], tuple[PreparedImage, ...]]:
        """Token ids and prepared images of a prompt.

        Raises:
            DataError: the prompt does not show its images.
        """
        ids = encode(self.tokenizer, prompt)
        shown = ids.count(self._bundle.media_token_id)
        if shown != len(images):
            raise DataError(f"a prompt shows {shown} images and has {len(images)}")
        return ids, tuple(map(self._prepare, images))

    def latents(self, keys: Sequence[str], pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Latents (N, n, d) of images."""
        return self._bundle.image_latents(keys, None, pixels=pixels)

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of tokens, the end excluded."""
        return text_of_tokens(self._bundle, tokens)

    @contextmanager
    def running(self) -> Iterator[None]:
        """As many threads as pay for a model of this size."""
        with few_threads(self._bundle):
            yield

    def _prepare(self, image: PILImage) -> PreparedImage:
        array = self._bundle.image_processor.array(image)
        digest = hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()
        import torch

        return PreparedImage(f"sha256:{digest}", torch.from_numpy(array))


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
    return {image.key: image.pixels for image in images}
