"""Any chat model of the Hugging Face kind: with images (``AutoModelForImageTextToText``) or of text alone.

A model comes from a local folder or from a pinned revision of the hub: safetensors only, no remote code. Not
implemented: beams (sampling with beams depends on the batch) and the length penalty that goes with them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.images import open_image
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.backends.chat_model import ChatModel, commit_of, load_chat_model, locate
from polite_flamingo.jobs.backends.row_noise import RowNoise
from polite_flamingo.jobs.backends.text import TextQuestion
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import TextMachineSettings

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated

LOG = logging.getLogger(__name__)
UNUSED = {"num_beams", "length_penalty"}  # of the decoding settings


class HuggingFaceBackend:
    """A chat model; loaded at the first question.

    Args:
        name: An existing folder, or ``id@revision`` of the hub.
        settings: Decoding; beams and length penalty are not used.
        image_root: Folder of the image paths.
        machine: Device, type of the weights, batch size.

    Raises:
        ConfigError: a hub id without a revision.
        ModelError: the hub does not know the model.
    """

    def __init__(
        self,
        name: str,
        settings: GenerationSettings,
        image_root: Path,
        machine: TextMachineSettings,
    ) -> None:
        if settings.num_beams > 1:
            LOG.warning("hf:%s decodes without beams (asked for: %d)", name, settings.num_beams)
        locate(name)  # refuses a name without a revision
        self._name = name
        self._settings = settings
        self._image_root = image_root
        self._machine = machine
        self._model: ChatModel | None = None
        self.batch_size = machine.generation_batch_size
        weights = Path(name) if Path(name).is_dir() else commit_of(name)
        self.identity = fingerprint("huggingface", weights, settings.model_dump(), machine.dtype)

    def answer(self, questions: Sequence[TextQuestion]) -> list[Generated | Failure]:
        """Answer every question; a batch holds questions with as many images and about as much text."""
        model = self.model
        answers: dict[int, Generated | Failure] = {}
        rows: list[_Row] = []
        for index, question in enumerate(questions):
            row = self._row(model, index, question)
            if isinstance(row, _Row):
                rows.append(row)
            else:
                answers[index] = row
        rows.sort(key=lambda r: (len(r.images), r.room < self._settings.max_new_tokens, -r.length, r.index))
        for batch in _batches(rows, self.batch_size, self._settings.max_new_tokens):
            answers.update(self._answer(model, batch))
        return [answers[index] for index in range(len(questions))]

    @property
    def model(self) -> ChatModel:
        """The loaded model."""
        if self._model is None:
            self._model = load_chat_model(self._name, pick_device(self._machine.device), self._machine.dtype)
        return self._model

    def close(self) -> None:
        """Let go of the model."""
        self._model = None

    def _row(self, model: ChatModel, index: int, question: TextQuestion) -> _Row | Failure:
        if question.images and not model.sees:
            raise ModelError(
                "this model reads text alone, and the records have images",
                value=self._name,
                where=question.key,
                next_step="name an image-text-to-text model",
            )
        try:
            images = tuple(open_image(self._image_root, path) for path in question.images)
        except ImageError as error:
            return Failure(f"error: {error.what}")
        text = model.prompt(question)
        length = model.inputs([text], [images]).input_ids.shape[1]
        if length >= model.context:
            return Failure(f"error: the prompt of {length} tokens fills the context of {model.context}")
        name = f"{self._settings.seed}:{question.key}:{question.attempt}:generate"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
        sampled = self._settings.do_sample or question.attempt > 0
        return _Row(index, text, images, length, model.context - length, seed if sampled else None)

    def _answer(self, model: ChatModel, batch: Sequence[_Row]) -> dict[int, Generated]:
        """Generate for a batch; where memory runs out, for its halves."""
        import torch

        try:
            return self._decode(model, batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    "one question alone does not fit into memory",
                    value=batch[0].length,
                    where=self._name,
                    next_step="use a smaller model, bfloat16, or a larger device",
                ) from error
        LOG.warning("out of memory with %d questions: going on with halves", len(batch))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(batch) + 1) // 2
        return {**self._answer(model, batch[:half]), **self._answer(model, batch[half:])}

    def _decode(self, model: ChatModel, batch: Sequence[_Row]) -> dict[int, Generated]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from polite_flamingo.records import Generated

        settings = self._settings
        inputs = model.inputs([r.text for r in batch], [r.images for r in batch]).to(model.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.model.dtype)
        steps = min(settings.max_new_tokens, min(r.room for r in batch))
        config = GenerationConfig(
            max_new_tokens=steps,
            do_sample=False,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
            pad_token_id=model.tokenizer.pad_token_id,
            eos_token_id=sorted(model.ends),
        )
        noise = RowNoise([r.seed for r in batch], settings.temperature, settings.top_k, settings.top_p)
        with torch.inference_mode():
            output = model.model.generate(
                **inputs, generation_config=config, logits_processor=LogitsProcessorList([noise])
            )
        answers: dict[int, Generated] = {}
        for row, ids in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            end = next((i for i, token in enumerate(ids) if token in model.ends), None)
            kept = ids if end is None else ids[:end]
            text = model.tokenizer.decode(kept, skip_special_tokens=True)
            answers[row.index] = Generated(text.strip(), "length" if end is None else "stop", len(kept))
        return answers


@dataclass(frozen=True, slots=True)
class _Row:
    """A question ready for the model: its prompt, images, length in tokens, room left, and seed (None: greedy)."""

    index: int
    text: str
    images: tuple[Any, ...]
    length: int
    room: int
    seed: int | None


def _batches(rows: Sequence[_Row], size: int, most: int) -> list[list[_Row]]:
    """Cut sorted rows into batches of one number of images; a row whose room is short of `most` goes alone."""
    batches: list[list[_Row]] = []
    for row in rows:
        last = batches[-1] if batches else []
        joins = (
            last and len(last) < size and row.room >= most <= last[0].room and len(last[0].images) == len(row.images)
        )
        if joins:
            last.append(row)
        else:
            batches.append([row])
    return batches
