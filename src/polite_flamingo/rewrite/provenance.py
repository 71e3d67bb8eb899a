"""Who rewrote and with which decoding: what a run's report keeps of it, for the cards of what is shared."""

from __future__ import annotations

from typing import Any

from polite_flamingo.jobs.backends.endpoint import sent
from polite_flamingo.jobs.backends.huggingface import UNUSED
from polite_flamingo.jobs.backends.load import FLAMINGO
from polite_flamingo.model.settings import GenerationSettings


def describe_rewriter(spec: str, settings: GenerationSettings, base: str, distortion: str) -> dict[str, Any]:
    """The rewriter and the decoding that it was really asked for.

    An endpoint's address is left out: it may be one's own machine.

    Args:
        spec: ``rewriter_backend`` of the profile.
        settings: Decoding.
        base: What a trained rewriter was trained from.
        distortion: What distorted the responses that it was trained on.

    Returns:
        ``kind``, ``model`` and ``decoding``; of a trained one also ``distortion``.
    """
    kind, _, rest = spec.partition(":")
    values = settings.model_dump(mode="json")
    if spec == FLAMINGO:
        return {"kind": kind, "model": base, "decoding": values, "distortion": distortion}
    if kind == "openai":
        return {"kind": kind, "model": rest.rpartition("#")[2], "decoding": sent(settings)}
    unused = UNUSED if kind == "hf" else set()
    return {"kind": kind, "model": rest or spec, "decoding": {k: v for k, v in values.items() if k not in unused}}
