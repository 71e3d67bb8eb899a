"""From a spec in a profile to a backend."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import ConfigError
from polite_flamingo.jobs.backends.base import Backend
from polite_flamingo.jobs.backends.chat_completion import KEY_VARIABLE
from polite_flamingo.jobs.backends.endpoint import EndpointBackend, EndpointOptions

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

FLAMINGO = "flamingo"
FORMS = "flamingo, hf:<folder or id@revision>, openai:<base url>#<model>"


@dataclass(frozen=True, slots=True)
class Place:
    """What a backend needs to know of the machine it runs on, and where things lie; it can be sent to a worker.

    Args:
        image_root: Folder of the image paths.
        batch_size: Records per batch on a device.
        device: Torch device, or ``auto``.
        dtype: ``float32`` or ``bfloat16``.
        token_budget: ``flamingo``: most tokens at a time; None: `batch_size` alone decides.
        compiled: ``flamingo``: decode with `torch.compile`.
        base: Folder of the Flamingo the rewriter was trained from; needed by ``flamingo``.
        rewriter: Folder of the trained tensors; needed by ``flamingo``.
        endpoint: Bounds, pauses and prices of ``openai``.
        cache: Folder that keeps an endpoint's answers; None: they are not kept.
    """

    image_root: Path
    batch_size: int = 8
    device: str = "auto"
    dtype: str = "float32"
    token_budget: int | None = None
    compiled: bool = False
    base: Path | None = None
    rewriter: Path | None = None
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    cache: Path | None = None


def load_backend(spec: str, settings: GenerationSettings, place: Place) -> Backend:
    """Make the backend `spec` names; weights are read at the first request. The endpoint's key: ``OPENAI_API_KEY``.

    Args:
        spec: ``flamingo``, ``hf:<folder or id@revision>`` or ``openai:<base url>#<model>``.
        settings: Decoding.
        place: Machine and folders.

    Raises:
        ConfigError: the spec has none of these forms.
    """
    kind, _, rest = spec.partition(":")
    if spec == FLAMINGO and place.base is not None and place.rewriter is not None:
        from polite_flamingo.jobs.backends.flamingo import FlamingoBackend

        return FlamingoBackend(
            place.base,
            place.rewriter,
            settings,
            image_root=place.image_root,
            batch_size=place.batch_size,
            device=place.device,
            dtype=place.dtype,
            token_budget=place.token_budget,
            compiled=place.compiled,
        )
    if kind == "hf" and rest:
        from polite_flamingo.jobs.backends.huggingface import HuggingFaceBackend

        return HuggingFaceBackend(
            rest,
            settings,
            image_root=place.image_root,
            batch_size=place.batch_size,
            device=place.device,
            dtype=place.dtype,
        )
    if kind == "openai" and "#" in rest:
        url, _, model = rest.rpartition("#")
        if url and model:
            return EndpointBackend(
                url,
                model,
                settings,
                image_root=place.image_root,
                key=os.environ.get(KEY_VARIABLE) or None,
                options=place.endpoint,
                cache=place.cache,
            )
    raise ConfigError("unknown backend", value=spec, next_step=f"one of: {FORMS}")
