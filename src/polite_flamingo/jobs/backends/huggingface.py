"""Any chat model of the Hugging Face kind: with images (``AutoModelForImageTextToText``) or of text alone.

A model comes from a local folder or from a pinned revision of the hub: safetensors only, no remote code. Not
implemented: beams (sampling with beams depends on the batch) and the length penalty that goes with them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ConfigError, ImageError, ModelError
from polite_flamingo.images import open_image
from polite_flamingo.io import fingerprint
from polite_flamingo.jobs.backends.base import ERROR, Request
from polite_flamingo.prompts.rewriting import plain_dialogue, rewriting_messages, text_of

if TYPE_CHECKING:
    import torch

    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated

logger = logging.getLogger(__name__)


class HuggingFaceBackend:
    """A chat model; loaded at the first request.

    Args:
        name: An existing folder, or ``id@revision`` of the hub.
        settings: Decoding; beams and length penalty are not used.
        image_root: Folder of the image paths.
        batch_size: Requests per batch.
        device: Torch device, or ``auto``.
        dtype: ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: a hub id without a revision.
        ModelError: the hub does not know the model.
    """

    def __init__(
        self,
        name: str,
        settings: GenerationSettings,
        *,
        image_root: Path,
        batch_size: int = 8,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        if settings.num_beams > 1:
            logger.warning("hf:%s decodes without beams (asked for: %d)", name, settings.num_beams)
        self._name = name
        self._settings = settings
        self._image_root = image_root
        self._device = device
        self._dtype = dtype
        self._loaded: _Loaded | None = None
        self._target, self._where = _place(name)
        self.batch_size = batch_size
        weights = Path(name) if Path(name).is_dir() else self._commit()
        form = rewriting_messages("{}", "{}", 1)
        self.identity = fingerprint("huggingface", weights, form, settings.model_dump(), dtype)

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Answer every request; a batch holds requests with as many images and about as much text."""
        loaded = self.loaded
        results: dict[int, Generated] = {}
        rows: list[_Row] = []
        for place, request in enumerate(requests):
            row = self._row(loaded, place, request)
            if isinstance(row, _Row):
                rows.append(row)
            else:
                results[place] = row
        rows.sort(key=lambda r: (len(r.images), r.room < self._settings.max_new_tokens, -r.length, r.place))
        for batch in _batches(rows, self.batch_size, self._settings.max_new_tokens):
            results.update(self._answer(loaded, batch))
        return [results[place] for place in range(len(requests))]

    @property
    def loaded(self) -> _Loaded:
        """The loaded model."""
        if self._loaded is None:
            self._loaded = _load(self._name, self._target, self._where, pick_device(self._device), self._dtype)
        return self._loaded

    def prompt(self, request: Request) -> str:
        """The text the model continues."""
        return self.loaded.prompt(request)

    def close(self) -> None:
        """Let go of the model."""
        self._loaded = None

    def _row(self, loaded: _Loaded, place: int, request: Request) -> _Row | Generated:
        from polite_flamingo.records import Generated

        if request.images and not loaded.sees and request.messages is None:
            raise ModelError(
                "this model reads text alone, and the records have images",
                value=self._name,
                where=request.key,
                next_step="name an image-text-to-text model",
            )
        try:
            shown = request.images if request.messages is None else ()
            images = tuple(open_image(self._image_root, path) for path in shown)
        except ImageError as error:
            return Generated("", f"{ERROR}{error.what}", 0)
        text = loaded.prompt(request)
        length = loaded.inputs([text], [images]).input_ids.shape[1]
        if length >= loaded.context:
            return Generated("", f"{ERROR}the prompt of {length} tokens fills the context of {loaded.context}", 0)
        name = f"{self._settings.seed}:{request.key}:{request.attempt}:generate"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
        sampled = self._settings.do_sample or request.attempt > 0
        return _Row(place, text, images, length, loaded.context - length, seed if sampled else None)

    def _answer(self, loaded: _Loaded, batch: Sequence[_Row]) -> dict[int, Generated]:
        """Generate for a batch; where memory runs out, for its halves."""
        import torch

        try:
            return self._decode(loaded, batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    "one request alone does not fit into memory",
                    value=batch[0].length,
                    where=self._name,
                    next_step="use a smaller model, bfloat16, or a larger device",
                ) from error
        logger.warning("out of memory with %d requests: going on with halves", len(batch))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(batch) + 1) // 2
        return {**self._answer(loaded, batch[:half]), **self._answer(loaded, batch[half:])}

    def _decode(self, loaded: _Loaded, batch: Sequence[_Row]) -> dict[int, Generated]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from polite_flamingo.records import Generated

        settings = self._settings
        inputs = loaded.inputs([r.text for r in batch], [r.images for r in batch]).to(loaded.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(loaded.model.dtype)
        steps = min(settings.max_new_tokens, min(r.room for r in batch))
        config = GenerationConfig(
            max_new_tokens=steps,
            do_sample=False,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
            pad_token_id=loaded.tokenizer.pad_token_id,
            eos_token_id=sorted(loaded.ends),
        )
        noise = RowNoise([r.seed for r in batch], settings.temperature, settings.top_k, settings.top_p)
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs, generation_config=config, logits_processor=LogitsProcessorList([noise])
            )
        answers: dict[int, Generated] = {}
        for row, ids in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            end = next((i for i, token in enumerate(ids) if token in loaded.ends), None)
            kept = ids if end is None else ids[:end]
            text = loaded.tokenizer.decode(kept, skip_special_tokens=True)
            answers[row.place] = Generated(text.strip(), "length" if end is None else "stop", len(kept))
        return answers

    def _commit(self) -> str:
        """The commit a revision of the hub stands for today, so that a moved branch is another model."""
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self._target, trust_remote_code=False, **self._where)
        except (OSError, ValueError, KeyError) as error:
            raise _unloadable(self._name, error) from error
        return f"{self._target}@{getattr(config, '_commit_hash', None) or self._where['revision']}"


@dataclass(frozen=True, slots=True)
class _Row:
    """A request ready for the model: its prompt, images, length in tokens, room left, and seed (None: greedy)."""

    place: int
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


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model with what turns requests into its inputs; `processor` is a tokenizer where the model sees no images."""

    model: Any
    processor: Any
    tokenizer: Any
    sees: bool
    ends: frozenset[int]
    context: int

    def prompt(self, request: Request) -> str:
        given: Sequence[Mapping[str, Any]] = request.messages or rewriting_messages(
            request.instruction, request.draft, len(request.images)
        )
        messages = [{**m, "content": self._content(m["content"])} for m in given]
        if self.processor.chat_template is None:
            if request.images and request.messages is None:
                raise ModelError(
                    "the model has no chat template",
                    where=self.tokenizer.name_or_path,
                    next_step="put a chat_template.jinja into a local copy of its folder",
                )
            return plain_dialogue(messages)
        ended = messages[-1]["role"] != "assistant"
        return str(
            self.processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=ended, continue_final_message=not ended
            )
        )

    def _content(self, content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        """Parts where the model sees, else plain text; special tokens within the data are taken apart."""
        if not self.sees:
            return self._defused(text_of(content))
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return [p if p["type"] != "text" else {**p, "text": self._defused(p["text"])} for p in parts]

    def _defused(self, text: str) -> str:
        special = {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        for token in sorted(special | {str(getattr(self.processor, "image_token", None) or "<image>")}, key=len):
            if token in text:
                bare = re.sub(r"[<>|\[\]]", "", token)
                text = text.replace(token, bare if bare and bare != token else " ".join(token))
        return text

    def inputs(self, texts: list[str], images: Sequence[Sequence[Any]]) -> Any:
        """Left-padded tensors; every row has the same number of images."""
        begin = self.tokenizer.bos_token
        own = self.processor.chat_template is not None and (
            not self.sees or (begin is not None and texts[0].startswith(begin))
        )  # a template writes the tokens of its own
        settings = {"padding": True, "return_tensors": "pt", "add_special_tokens": not own}
        if not self.sees:
            return self.processor(texts, **settings)
        return self.processor(text=texts, images=[list(row) for row in images] if images[0] else None, **settings)


class RowNoise:
    """Logits processor: the arg max of (logits / temperature + Gumbel noise) is a draw; each row has its own noise.

    Args:
        seeds: One per row; None leaves the row greedy.
        temperature: Divides the logits.
        top_k: Draw from the k best; 0: all.
        top_p: Draw from the smallest set with this probability.
    """

    def __init__(self, seeds: Sequence[int | None], temperature: float, top_k: int, top_p: float) -> None:
        import torch

        self._generators = [None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_k = top_k
        self._top_p = top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) whose arg max is the next token."""
        import torch

        drawn = [i for i, generator in enumerate(self._generators) if generator is not None]
        if not drawn:
            return scores
        logits = scores[drawn].float() / self._temperature
        if 0 < self._top_k < logits.shape[-1]:
            logits = logits.masked_fill(logits < logits.topk(self._top_k).values[:, -1:], float("-inf"))
        ranked, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ranked.cumsum(-1) - ranked >= self._top_p
        logits = logits.masked_fill(beyond.gather(-1, order.argsort(-1)), float("-inf"))
        uniform = torch.stack([torch.rand(logits.shape[-1], generator=self._generators[i]) for i in drawn])
        noise = -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()
        scores = scores.float().clone()
        scores[drawn] = logits + noise.to(logits.device)
        return scores


def _place(name: str) -> tuple[str, dict[str, Any]]:
    """What to hand to ``from_pretrained``."""
    if Path(name).is_dir():
        return name, {"local_files_only": True}
    target, _, revision = name.partition("@")
    if not revision:
        raise ConfigError(
            "a model of the hub needs a revision", value=name, next_step="write hf:<id>@<commit>, or an existing folder"
        )
    return target, {"revision": revision}


def _load(name: str, target: str, where: Mapping[str, Any], device: str, dtype: str) -> _Loaded:
    import torch
    from transformers import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )

    try:
        config = AutoConfig.from_pretrained(target, trust_remote_code=False, **where)
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        read, build = (AutoProcessor, AutoModelForImageTextToText) if sees else (AutoTokenizer, AutoModelForCausalLM)
        processor = read.from_pretrained(target, trust_remote_code=False, **where)
        model = build.from_pretrained(
            target, trust_remote_code=False, use_safetensors=True, dtype=getattr(torch, dtype), **where
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _unloadable(name, error) from error
    tokenizer = processor.tokenizer if sees else processor
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    end = model.generation_config.eos_token_id
    ends = frozenset(end if isinstance(end, list) else [end]) - {None} or frozenset([tokenizer.eos_token_id])
    context = getattr(config.get_text_config(), "max_position_embeddings", None) or tokenizer.model_max_length
    return _Loaded(model.to(device).eval(), processor, tokenizer, sees, ends, int(context))


def _unloadable(name: str, error: Exception) -> ModelError:
    return ModelError(
        "model cannot be loaded",
        value=str(error)[:500],
        where=name,
        next_step="a folder or hub revision with config, tokenizer or processor, and safetensors weights is needed",
    )
