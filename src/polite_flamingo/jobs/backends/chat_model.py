"""A chat model of the Hugging Face kind, with what turns questions into its inputs.

A model comes from a local folder or from a pinned revision of the hub: safetensors only, no remote code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.backends.templates import TEMPLATES
from polite_flamingo.jobs.backends.text import TextQuestion
from polite_flamingo.model.origins import BLOBS
from polite_flamingo.model.vetting import check_loaded, vet
from polite_flamingo.prompts.rewriting import plain_dialogue, text_of


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model with what turns requests into its inputs; `processor` is a tokenizer where the model sees no images."""

    model: Any
    processor: Any
    tokenizer: Any
    sees: bool
    ends: frozenset[int]
    context: int

    def prompt(self, question: TextQuestion) -> str:
        """The text that the model is to continue.

        Raises:
            ModelError: there are images, and the model has no chat template to place them.
        """
        messages = [{**m, "content": self._content(m["content"])} for m in question.messages()]
        if self.processor.chat_template is None:
            if question.images:
                raise ModelError(
                    "the model has no chat template",
                    where=self.tokenizer.name_or_path,
                    next_step="put a chat_template.jinja into a local copy of its folder",
                )
            return plain_dialogue(messages)
        template = self.processor.chat_template
        if isinstance(template, dict):  # several, by name
            template = template.get("default") or next(iter(template.values()))
        return TEMPLATES.render(
            template,
            [{name: value for name, value in message.items() if value is not None} for message in messages],
            continued=messages[-1]["role"] == "assistant",
            variables=self.tokenizer.special_tokens_map,
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


def locate(name: str) -> tuple[str, dict[str, Any]]:
    """What to hand to ``from_pretrained``."""
    if Path(name).is_dir():
        return name, {"local_files_only": True}
    target, _, revision = name.partition("@")
    if not revision:
        raise ConfigError(
            "a model of the hub needs a revision", value=name, next_step="write hf:<id>@<commit>, or an existing folder"
        )
    return target, {"revision": revision}


def load_chat_model(name: str, device: str, dtype: str) -> ChatModel:
    """Read a model and its processor, from a folder or a pinned revision of the hub.

    Raises:
        ModelError: it cannot be loaded.
    """
    import torch
    from transformers import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )

    target, origin = locate(name)
    try:
        _vet(target, origin)
        config = AutoConfig.from_pretrained(target, trust_remote_code=False, **origin)
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        read, build = (AutoProcessor, AutoModelForImageTextToText) if sees else (AutoTokenizer, AutoModelForCausalLM)
        processor = read.from_pretrained(target, trust_remote_code=False, **origin)
        model, found = build.from_pretrained(
            target,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            **origin,
        )
        check_loaded(model, found, Path(target))
    except ModelError:
        raise
    except Exception as error:  # a folder of a stranger makes readers fail in every way there is
        raise unloadable(name, error) from error
    tokenizer = processor.tokenizer if sees else processor
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    end = model.generation_config.eos_token_id
    ends = frozenset(end if isinstance(end, list) else [end]) - {None} or frozenset([tokenizer.eos_token_id])
    context = getattr(config.get_text_config(), "max_position_embeddings", None) or tokenizer.model_max_length
    return ChatModel(model.to(device).eval(), processor, tokenizer, sees, ends, int(context))


def _vet(target: str, origin: dict[str, Any]) -> None:
    """Look at a model's files; of the hub's, those that are no weights, which are fetched first."""
    folder = Path(target)
    if folder.is_dir():
        vet(folder)
        return
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(target, allow_patterns=["*.json", "*.jinja"], **origin))
    vet(folder, files=folder.parent.parent / BLOBS)


def unloadable(name: str, error: Exception) -> ModelError:
    """The error of a model that cannot be read."""
    return ModelError(
        "model cannot be loaded",
        value=str(error)[:500],
        where=name,
        next_step="a folder or hub revision with config, tokenizer or processor, and safetensors weights is needed",
    )


def commit_of(name: str) -> str:
    """The commit a revision of the hub stands for today, so that a moved branch is another model.

    Raises:
        ModelError: the hub does not know it.
    """
    from transformers import AutoConfig

    target, origin = locate(name)
    try:
        config = AutoConfig.from_pretrained(target, trust_remote_code=False, **origin)
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(name, error) from error
    return f"{target}@{getattr(config, '_commit_hash', None) or origin['revision']}"
