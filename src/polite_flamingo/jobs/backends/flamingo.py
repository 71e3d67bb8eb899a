"""The default backend: the trained Flamingo with the prompt of Figure 3 (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ModelError
from polite_flamingo.io import fingerprint
from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.prompts.templates import rewriter_prompt

if TYPE_CHECKING:
    from polite_flamingo.model.generate import Prompt
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated


class FlamingoBackend:
    """A rewriter's folder; the model is loaded at the first request.

    Args:
        base: Folder of the Flamingo the rewriter was trained from.
        rewriter: Folder of the trained tensors.
        settings: Decoding.
        image_root: Folder of the image paths.
        batch_size: Requests per batch.
        device: Torch device, or ``auto``.
        dtype: ``float32`` or ``bfloat16``.
        token_budget: Most tokens at a time, prompts and the longest possible continuations; None: no bound.
        compiled: Decode with `torch.compile`.
    """

    def __init__(
        self,
        base: Path,
        rewriter: Path,
        settings: GenerationSettings,
        *,
        image_root: Path,
        batch_size: int,
        device: str = "auto",
        dtype: str = "float32",
        token_budget: int | None = None,
        compiled: bool = False,
    ) -> None:
        self._base = base
        self._rewriter = rewriter
        self._settings = settings
        self._image_root = image_root
        self._device = device
        self._dtype = dtype
        self._token_budget = token_budget
        self._compiled = compiled
        self._bundle: Any = None
        self.batch_size = batch_size
        self.identity = fingerprint(
            "flamingo", base, rewriter, rewriter_prompt("{}", "{}", 1), settings.model_dump(), dtype
        )

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Rewrite every draft; a repair samples, from other random numbers than the first try."""
        from polite_flamingo.model.generate import generate

        bundle = self.bundle
        results: dict[int, Generated] = {}
        for repairs in (False, True):
            places = [i for i, request in enumerate(requests) if (request.attempt > 0) is repairs]
            if not places:
                continue
            settings = self._settings.model_copy(update={"do_sample": True}) if repairs else self._settings
            prompts = [flamingo_prompt(bundle.tokenizer, requests[i]) for i in places]
            made = generate(
                bundle,
                prompts,
                settings,
                image_root=self._image_root,
                batch_size=self.batch_size,
                token_budget=self._token_budget,
                compiled=self._compiled,
            )
            results.update(zip(places, made, strict=True))
        return [results[i] for i in range(len(requests))]

    @property
    def bundle(self) -> Any:
        """The loaded model (`FlamingoBundle`)."""
        if self._bundle is None:
            from polite_flamingo.model.flamingo import load_flamingo

            self._bundle = load_flamingo(
                self._base, device=self._device, dtype=self._dtype, trainables=self._rewriter
            )  # fmt: skip
        return self._bundle

    def close(self) -> None:
        """Let go of the model."""
        self._bundle = None


def flamingo_prompt(tokenizer: Any, request: Request) -> Prompt:
    """The rewriter's prompt for a request; special tokens within the data are taken apart.

    Raises:
        ModelError: the request brings chat messages, which this model was never taught.
    """
    from polite_flamingo.model.generate import Prompt
    from polite_flamingo.model.tokens import plain

    if request.messages is not None:
        raise ModelError(
            "the Flamingo rewriter takes no chat messages", where=request.key, next_step="use hf: or openai:"
        )
    text = rewriter_prompt(plain(tokenizer, request.instruction), plain(tokenizer, request.draft), len(request.images))
    key = f"{request.key}!{request.attempt}" if request.attempt else request.key
    return Prompt(text, request.images, key=key)
