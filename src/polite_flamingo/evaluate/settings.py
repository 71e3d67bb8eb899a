"""Settings of the evaluation (section 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from polite_flamingo.errors import did_you_mean
from polite_flamingo.settings import Settings

OURS = ("annotation", "raw", "stage1", "stage2", "stage3", "stage3_without_image")
RESERVED = frozenset({*OURS, "responses", "rewritten", "lower_bound", "win_rate"})
ENDINGS = (".jsonl", ".json", ".csv", ".tsv")  # of files of answers, gzipped or not
NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]*)=(.+)")
_BACKEND = re.compile(r"hf:.+|openai:.+#.+")


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A model that this pipeline has not trained.

    Attributes:
        name: What it is called in the tables; also the name of the folder of its answers.
        spec: ``hf:…`` or ``openai:…#…``, or the path of a file of its answers.
    """

    name: str
    spec: str

    @property
    def file(self) -> Path | None:
        """Its file of answers; None: a backend is asked."""
        return None if _BACKEND.fullmatch(self.spec) else Path(self.spec)

    @classmethod
    def parse(cls, text: str) -> OtherModel:
        """From ``[NAME=]hf:…``, ``[NAME=]openai:…#…`` or ``[NAME=]FILE``; without a name, the file's or model's.

        Raises:
            ValueError: the text has none of these forms, or a name that one of our own models has.
        """
        found = NAMED.fullmatch(text)
        name, spec = found.groups() if found else ("", text)
        if not _BACKEND.fullmatch(spec) and (":" in spec or not ("/" in spec or _bare(spec) != spec)):
            raise ValueError(
                f"unknown model {text!r}: {did_you_mean(text, OURS)}; or [NAME=]hf:<folder or id@revision>, "
                f"[NAME=]openai:<base url>#<model>, [NAME=]FILE of answers ({', '.join(ENDINGS)}, or a folder)"
            )
        name = name or _name(spec)
        if not NAMED.fullmatch(f"{name}=x") or name in RESERVED:
            raise ValueError(f"no name for a model: {name!r} of {text!r}; write NAME={spec}")
        return cls(name, spec)


def _bare(path: str) -> str:
    """A path without the ending that files of answers have."""
    whole = path.removesuffix(".gz")
    return next((whole.removesuffix(ending) for ending in ENDINGS if whole.endswith(ending)), path)


def _name(spec: str) -> str:
    """The model's own name in a spec, or the file's without its ending."""
    name = re.split(r"[/#\\]", spec.rstrip("/").removeprefix("hf:"))[-1]
    name = name.partition("@")[0] if _BACKEND.fullmatch(spec) else _bare(name)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")


def _known(text: str) -> str:
    if text not in OURS:
        OtherModel.parse(text)
    return text


class EvaluateSettings(Settings):
    """Whose answers are measured, and how they are decoded where `generation` is not followed."""

    models: list[Annotated[str, AfterValidator(_known)]] = Field(
        list(OURS),
        min_length=1,
        description="ours: whose answers are measured; also hf:…, openai:…, files of answers (docs/evaluation.md)",
    )
    bootstrap_samples: int = Field(1000, gt=0, description="ours: 95 % intervals")
    max_new_tokens: int = Field(128, gt=0, description="ours")
    do_sample: bool = Field(True, description="readme: inferencer(...) defaults; manners are a matter of distribution")
    temperature: float = Field(1.0, gt=0, description="readme")

    @field_validator("models")
    @classmethod
    def _names_once(cls, models: list[str]) -> list[str]:
        names = [name if name in OURS else OtherModel.parse(name).name for name in models]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"models of the same name: {', '.join(doubled)}; name one of them otherwise, NAME=…")
        return models

    @property
    def others(self) -> list[OtherModel]:
        """Those that this pipeline has not trained."""
        return [OtherModel.parse(model) for model in self.models if model not in OURS]

    @property
    def names(self) -> list[str]:
        """What all of them are called."""
        return [model if model in OURS else OtherModel.parse(model).name for model in self.models]
