"""What a loaded model says: prompts and images in, texts out, piece by piece or many at once."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.records import Generated
from polite_flamingo.talk.decoding import GREEDY, Decoding

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from polite_flamingo.jobs.backends.chat_model import ChatModel
    from polite_flamingo.jobs.backends.text import TextQuestion
    from polite_flamingo.model.bundle import FlamingoBundle

BATCH = 16


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to continue.

    Args:
        text: The prompt, with one image token per image.
        images: In order.
        decoding: How.
        key: Names it; decides, with the seed, its random numbers. Empty: the prompt does.
    """

    text: str
    images: tuple[PILImage, ...] = ()
    decoding: Decoding = GREEDY
    key: str = ""


class Speaker:
    """A loaded model; calls from several threads take turns.

    Args:
        model: A Flamingo or a chat model.
        batch_size: Requests decoded together.
    """

    def __init__(self, model: FlamingoBundle | ChatModel, batch_size: int = BATCH) -> None:
        self.model: Any = model
        self.batch_size = batch_size
        self._turn = threading.Lock()

    @property
    def is_flamingo(self) -> bool:
        """Whether it continues prompts of the paper; else it is a chat model with a template of its own."""
        return hasattr(self.model, "media_token_id")

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.is_flamingo or self.model.sees

    def prompt(self, question: TextQuestion) -> str:
        """The text that the model continues; special tokens within the question are taken apart."""
        from polite_flamingo.model.tokens import plain

        if self.is_flamingo:
            return question.prompt(partial(plain, self.model.tokenizer))
        if question.images and not self.sees:
            raise ModelError(
                "this model reads text alone",
                value=f"{len(question.images)} images",
                next_step="ask without images, or name a model that sees",
            )
        return str(self.model.prompt(question))

    def count(self, request: GenerationRequest) -> int:
        """Tokens of a prompt, images as the model counts them.

        Raises:
            DataError: they leave no room for an answer.
        """
        if self.is_flamingo:
            from polite_flamingo.model.tokens import encode

            config = self.model.model.lang_encoder.config
            room = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None) or 1 << 30
            length = len(encode(self.model.tokenizer, request.text))
        else:
            room = self.model.context
            length = self.model.inputs([request.text], [request.images]).input_ids.shape[1]
        if length >= room:
            raise DataError(
                "the prompt fills the model's context",
                value=f"{length} tokens of {room}",
                next_step="ask for less at a time, or begin a new dialogue",
            )
        return length

    def answer(self, requests: Sequence[GenerationRequest]) -> list[Generated]:
        """Continue every prompt; results in order."""
        with self._turn:
            said = self._flamingo(requests) if self.is_flamingo else [self._chat(request) for request in requests]
        return [_cut(request, generated) for request, generated in zip(requests, said, strict=True)]

    def stream(self, request: GenerationRequest) -> Iterator[str | Generated]:
        """Pieces of the text as they come; at last the whole."""
        (generated,) = self.answer([request])
        if generated.text:
            yield generated.text
        yield generated

    def close(self) -> None:
        """Let go of the model."""

    def _flamingo(self, requests: Sequence[GenerationRequest]) -> list[Generated]:
        from polite_flamingo.model.generate import Prompt, generate

        said: dict[int, Generated] = {}
        with tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
            prompts = []
            for number, request in enumerate(requests):
                names = tuple(f"{number}-{position}.png" for position in range(len(request.images)))
                for name, image in zip(names, request.images, strict=True):
                    image.save(Path(scratch) / name, compress_level=1)
                prompts.append(Prompt(request.text, names, key=request.key or request.text))
            try:
                for decoding in dict.fromkeys(request.decoding for request in requests):
                    positions = [n for n, request in enumerate(requests) if request.decoding == decoding]
                    generated = generate(
                        self.model,
                        [prompts[n] for n in positions],
                        decoding.generation,
                        image_root=Path(scratch),
                        batch_size=self.batch_size,
                    )
                    said.update(zip(positions, generated, strict=True))
            finally:
                self.model.clear_cache()  # images of this call are not asked about again by their names
        return [said[number] for number in range(len(requests))]

    def _chat(self, request: GenerationRequest) -> Generated:
        import torch
        from transformers import GenerationConfig

        model, decoding = self.model, request.decoding
        inputs = model.inputs([request.text], [request.images]).to(model.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.model.dtype)
        sampled: dict[str, Any] = {}
        if decoding.temperature:
            sampled = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
        config = GenerationConfig(
            max_new_tokens=min(decoding.max_tokens, model.context - inputs["input_ids"].shape[1]),
            do_sample=bool(sampled),
            no_repeat_ngram_size=decoding.no_repeat_ngram_size or None,
            pad_token_id=model.tokenizer.pad_token_id,
            eos_token_id=sorted(model.ends),
            **sampled,
        )
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(decoding.seed)
            output = model.model.generate(**inputs, generation_config=config)
        ids = output[0, inputs["input_ids"].shape[1] :].tolist()
        end = next((i for i, token in enumerate(ids) if token in model.ends), None)
        kept = ids if end is None else ids[:end]
        text = model.tokenizer.decode(kept, skip_special_tokens=True)
        return Generated(text.strip(), "length" if end is None else "stop", len(kept))


def _cut(request: GenerationRequest, generated: Generated) -> Generated:
    text, stopped = request.decoding.cut(generated.text)
    return Generated(text.strip(), "stop", generated.tokens) if stopped else generated
