"""Strategy 1 (section 3.1.1): a language model is asked to make its own good answer short and blunt.

With `command_probability` one of the 24 commands (Table 5) is added to the prompt. Who answers is a backend, named by a
spec: ``terse_rules`` (rules, no model), ``hf:<folder or id@revision>`` (a chat model through transformers) or
``openai:<base url>#<model>`` (any OpenAI-compatible endpoint).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from polite_flamingo.devices import pick_device
from polite_flamingo.distort.base import Draft, Response
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
BACKENDS = "terse_rules, hf:<folder or id@revision>, openai:<base url>#<model>"
_TURN = re.compile(r"\n?### (?:Human|Assistant)\b")


class Backend(Protocol):
    """Something that completes distortion prompts."""

    def complete(self, prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """One draft per prompt, in order; the i-th depends on ``prompts[i]`` and ``rngs[i]`` alone."""


@dataclass(frozen=True, slots=True)
class LlmRewrite:
    """LLM-instructed distortion; works on every response."""

    backend: Backend
    command_probability: float = 0.5
    name: str = "llm_rewrite"

    def applies(self, response: Response) -> bool:
        """Always."""
        return True

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        """Draw commands, then let the backend answer."""
        commands = [rng.choice(COMMANDS) if rng.random() < self.command_probability else "" for rng in rngs]
        prompts = [DistortionPrompt(r.instruction, r.text, c) for r, c in zip(responses, commands, strict=True)]
        drafts = self.backend.complete(prompts, rngs)
        return [Draft(text, command) for text, command in zip(drafts, commands, strict=True)]


def load_backend(spec: str, *, device: str = "auto", batch_size: int = 8) -> Backend:
    """Make the backend `spec` names.

    Raises:
        ConfigError: the spec is none of the known forms.
    """
    kind, _, rest = spec.partition(":")
    if spec == "terse_rules":
        return TerseRules()
    if kind == "hf" and rest:
        return load_chat_model(rest, device=device, batch_size=batch_size)
    if kind == "openai" and "#" in rest:
        url, _, model = rest.rpartition("#")
        if url.startswith(("http://", "https://")) and model:
            return OpenAiBackend(url.rstrip("/"), model, os.environ.get(KEY_VARIABLE))
    raise ConfigError("unknown distortion backend", value=spec, where="distortion_backend", next_step=BACKENDS)


def clean_completion(text: str) -> str:
    """What the model wrote inside the quotation mark the prompt has opened."""
    text = _TURN.split(text, maxsplit=1)[0]
    head, quote, _ = text.partition('"\n')
    text = (head if quote else text).strip()
    return text.removeprefix('"').removesuffix('"').strip()


class ChatModel:
    """A causal language model; the answer starts with the authors' promise and is continued.

    With a `temperature` every sample has its own noise (Gumbel-max sampling from `rngs`), so the draft does not depend
    on what else is in the batch; at temperature 0 decoding is greedy.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer; a chat template is used where there is one, else the Guanaco prompt as plain text.
        device: Torch device the model is on.
        batch_size: Prompts per forward pass.
        max_new_tokens: Longest draft.
        temperature: 0 is greedy.
        top_p: Share of probability kept when sampling.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: str,
        *,
        batch_size: int = 8,
        max_new_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 0.9,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._device = device
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._top_p = top_p
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    def prompt(self, prompt: DistortionPrompt) -> str:
        """The text the model continues."""
        if self._tokenizer.chat_template is None:
            return prompt.text
        return self._tokenizer.apply_chat_template(prompt.messages, tokenize=False, continue_final_message=True)

    def complete(self, prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """Continue each prompt, in batches of similar length."""
        texts = [self.prompt(p) for p in prompts]
        seeds = [rng.getrandbits(63) for rng in rngs]
        drafts = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            answers = self._generate([texts[i] for i in places], [seeds[i] for i in places])
            for place, answer in zip(places, answers, strict=True):
                drafts[place] = clean_completion(answer)
        return drafts

    def _generate(self, texts: list[str], seeds: list[int]) -> list[str]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        plain = self._tokenizer.chat_template is None  # a template writes the start token itself
        inputs = self._tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=plain).to(self._device)
        noise = [_GumbelNoise(seeds, self._temperature, self._top_p)] if self._temperature > 0 else []
        config = GenerationConfig(
            max_new_tokens=self._max_new_tokens,
            do_sample=False,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._model.generation_config.eos_token_id or self._tokenizer.eos_token_id,
        )
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                generation_config=config,
                logits_processor=LogitsProcessorList(noise),
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        return list(self._tokenizer.batch_decode(new, skip_special_tokens=True))


class _GumbelNoise:
    """Logits processor: the arg max of (logits / temperature + Gumbel noise) is a sample; each row has its own."""

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        import torch

        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        scores = scores.float() / self._temperature
        ranked, order = scores.softmax(-1).sort(dim=-1, descending=True)
        beyond = ranked.cumsum(-1) - ranked >= self._top_p
        scores = scores.masked_fill(beyond.gather(-1, order.argsort(-1)), float("-inf"))
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self._generators]).to(scores.device)
        return scores - (-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()


def load_chat_model(name: str, *, device: str = "auto", batch_size: int = 8) -> ChatModel:
    """Load ``folder`` or ``id@revision``: safetensors only, no remote code; a hub id needs its revision.

    Raises:
        ConfigError: a hub id without a revision.
        ModelError: nothing loadable there.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = pick_device(device)
    where: dict[str, Any]
    if Path(name).is_dir():
        target, where = name, {"local_files_only": True}
    else:
        target, _, revision = name.partition("@")
        if not revision:
            raise ConfigError(
                "a model of the hub needs a revision", value=name, where="distortion_backend",
                next_step="write hf:<id>@<commit>, or name an existing folder",
            )  # fmt: skip
        where = {"revision": revision}
    try:
        tokenizer = AutoTokenizer.from_pretrained(target, trust_remote_code=False, **where)
        model = AutoModelForCausalLM.from_pretrained(target, trust_remote_code=False, use_safetensors=True, **where)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("chat model cannot be loaded", value=str(error), where=name) from error
    return ChatModel(model.to(device).eval(), tokenizer, device, batch_size=batch_size)


@dataclass(frozen=True, slots=True)
class OpenAiBackend:
    """An OpenAI-compatible ``/chat/completions`` endpoint, one request per draft.

    The authors' promise is sent as the beginning of the assistant's last message. Time-outs, refused connections, 429
    and 5xx are tried again with growing pauses; anything else is an error at once.

    Args:
        url: Base url, ``https://host/v1``.
        model: Model name the endpoint knows.
        key: Bearer token; None: no authorisation header.
        attempts: Requests per draft at most.
        pause: Seconds before the first repetition, doubled each time, at most 60.
        timeout: Seconds per request.
        max_tokens: Longest draft.
        temperature: Sampling temperature.
    """

    url: str
    model: str
    key: str | None = None
    attempts: int = 6
    pause: float = 1.0
    timeout: float = 120.0
    max_tokens: int = 256
    temperature: float = 0.7

    def __repr__(self) -> str:
        return f"OpenAiBackend(url={self.url!r}, model={self.model!r})"

    def complete(self, prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """Ask for each draft; the seed sent along comes from the sample's own randomness."""
        import httpx

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with httpx.Client(timeout=self.timeout, headers=headers) as client:
            return [
                clean_completion(self._ask(client, prompt, rng.getrandbits(31)))
                for prompt, rng in zip(prompts, rngs, strict=True)
            ]

    def _ask(self, client: Any, prompt: DistortionPrompt, seed: int) -> str:
        import httpx
        from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_exponential

        body = {
            "model": self.model,
            "messages": prompt.messages,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": seed,
        }
        address = f"{self.url}/chat/completions"
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(multiplier=self.pause, max=60),
            retry=retry_if_exception(_passing),
            before_sleep=before_sleep_log(logger, logging.WARNING),
            reraise=True,
        )
        try:
            response = retrying(lambda: client.post(address, json=body).raise_for_status())
            return str(response.json()["choices"][0]["message"]["content"] or "")
        except httpx.HTTPStatusError as error:
            raise ModelError(
                f"endpoint answered {error.response.status_code}", value=error.response.text[:300], where=address,
                next_step=f"check model name and {KEY_VARIABLE}",
            ) from None  # fmt: skip
        except httpx.HTTPError as error:
            raise ModelError("endpoint cannot be reached", value=str(error), where=address) from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError("endpoint sent no chat completion", value=repr(error), where=address) from None


def _passing(error: BaseException) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)
