"""The two models that are registered, their inputs and their output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polite_flamingo.errors import ConfigError, did_you_mean

IMAGES, KEY = "images", "id"  # optional inputs of both


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A registered model.

    Args:
        name: Its short name.
        registered: Its name in the registry.
        asked: The texts it needs, by column: what they are.
        trained: Folders below ``models/P`` that may be registered, the usual one first.
        evidence: Stage of dvc.yaml after which its scores are complete.
        what: What it does, in a sentence.
    """

    name: str
    registered: str
    asked: Mapping[str, str]
    trained: tuple[str, ...]
    evidence: str
    what: str


KINDS = {
    kind.name: kind
    for kind in (
        ModelKind(
            name="rewriter",
            registered="polite-flamingo-rewriter",
            asked={"instruction": "what the draft responds to", "draft": "a terse annotation"},
            trained=("rewriter",),
            evidence="filter",
            what="Polite Flamingo: rewrites a terse annotation of an image into a polite, grounded response.",
        ),
        ModelKind(
            name="assistant",
            registered="polite-flamingo-assistant",
            asked={"question": "what is asked about the images"},
            trained=("stage3", "stage2", "stage1", "raw"),
            evidence="evaluate",
            what="Clever Flamingo: answers questions about images, tuned on rewritten annotations.",
        ),
    )
}
INPUTS = {
    IMAGES: "files of images in base64, in the order they are shown; never paths or addresses",
    KEY: "names the question; where decoding samples, it decides the random numbers",
}
OUTPUTS = {"text": "the response", "finish_reason": "stop, or length where it was cut off"}


def kind_of(name: str) -> ModelKind:
    """The kind of a short or a registered name.

    Raises:
        ConfigError: there is none of that name.
    """
    for kind in KINDS.values():
        if name in (kind.name, kind.registered):
            return kind
    raise ConfigError("no registered model has this name", value=name, next_step=did_you_mean(name, KINDS))


def training_stage(folder: str) -> str:
    """The stage of dvc.yaml that trains ``models/P/<folder>``."""
    return "train_rewriter" if folder == "rewriter" else f"tune_{folder}"
