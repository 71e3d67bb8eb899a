"""Figure 3's task for models that were not trained on it: an instruction in words for every kind of task.

The paper's own rewriter needs none (`templates.rewriter_prompt`); a general model does. The wording is ours: the
paper's aims (section 3: polite, natural, well formatted, nothing changed) said once, what a kind of task needs beside
them, and the style. Whatever the style, the raw answer survives. A template of one's own replaces the whole request.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, did_you_mean


class TaskKind(StrEnum):
    """What a raw answer is, as far as it takes an instruction of its own to rewrite it."""

    CAPTION = "caption"
    CLASSIFICATION = "classification"
    CHANGE = "change"
    SHORT_ANSWER = "short answer"
    RATIONALE = "rationale"
    COUNTING = "counting"
    YES_NO = "yes/no"
    TEXT_IN_IMAGE = "text in the image"
    GENERAL = "general"


SYSTEM = "You rewrite terse, machine-like answers about images as a polite and helpful assistant would have given them."

REQUEST = """\
Request:
{question}

Draft answer:
{answer}

{guidance}"""

SURVIVES = (
    "The draft is the annotated truth and has to survive: keep every fact of it, numbers, names, yes and no included, "
    "change none, and add nothing that neither the draft nor the image shows. Leave out coordinates and bounding "
    "boxes. Reply with the rewritten answer alone."
)

KINDS: Mapping[TaskKind, str] = {
    TaskKind.CAPTION: (
        "The draft holds one or more captions of the image, perhaps with a list of objects. Merge them into one "
        "description: say once what several of them say, and everything that only one of them says."
    ),
    TaskKind.CLASSIFICATION: (
        "The draft is the class of what the image shows. Name exactly this class, no broader and no narrower one, "
        "and mention what can be seen in the image that speaks for it."
    ),
    TaskKind.CHANGE: (
        "The draft tells what differs between the first image and the second. Keep the direction (what was there "
        "before, what is there after) and every difference; where it says that nothing changed, say so."
    ),
    TaskKind.SHORT_ANSWER: (
        "The draft is a word or a few. Make it a sentence that answers the request with these very words."
    ),
    TaskKind.RATIONALE: (
        "The draft is an answer with its reasons. State the answer as it is and give all of its reasons, well "
        "connected; add none."
    ),
    TaskKind.COUNTING: (
        "The draft is a number, or numbers of things. Repeat each number exactly, without 'about' or 'at least', "
        "and say what is counted."
    ),
    TaskKind.YES_NO: (
        "The draft says yes or no, true or false. Begin with it or state it without doubt, never the opposite, and "
        "say which claim it is about."
    ),
    TaskKind.TEXT_IN_IMAGE: (
        "The draft is text that is written in the image. Quote it letter by letter, its spelling, capitals and "
        "digits included; translate and correct nothing."
    ),
    TaskKind.GENERAL: ("The draft answers the request in its own terms."),
}

STYLES: Mapping[str, str] = {
    "polite": "Rewrite the draft as a natural, polite and well-formatted answer to the request.",
    "concise": "Rewrite the draft as a natural and polite answer of one sentence, two at most, without greetings, "
    "offers of further help or repetition.",
    "stepwise": "Rewrite the draft as a polite answer that reasons step by step: first what in the image matters for "
    "the request, then what follows from it (the draft's own reasons, where it has some), and in the last sentence the "
    "answer.",
}
DEFAULT = "polite"
FIELDS: Mapping[str, str] = {  # of a template
    "question": "what was asked",
    "answer": "the raw answer",
    "task": "kind of the task, e.g. counting",
    "guidance": "our instruction for the kind of task in the style polite",
    "choices": "choices of a multiple-choice question, one a line; empty elsewhere",
    "source": "name of the data set",
}
NEEDED = ("question", "answer")
MAX_TEMPLATE = 20_000  # characters


@dataclass(frozen=True, slots=True)
class RewritingPrompt:
    """The request for one kind of task in one style.

    Args:
        style: Name of a preset, or of a template's file without its folder.
        kind: Of the task.
        request: Template with some of `FIELDS`.
        guidance: What stands for ``{guidance}``.
        system: System message.
    """

    style: str
    kind: TaskKind
    request: str
    guidance: str
    system: str = SYSTEM

    @property
    def version(self) -> str:
        """``style/kind@hash``: the hash is of the wording, so a template that changed is another version."""
        text = "\0".join((self.system, self.request, self.guidance))
        return f"{self.style}/{self.kind}@{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def text(self) -> str:
        """The wording, with the fields of a record still open."""
        return f"{self.system}\n\n{self.request.replace('{guidance}', self.guidance)}"

    def messages(self, fields: Mapping[str, str], images: int) -> list[dict[str, Any]]:
        """Chat messages that ask for the revised response.

        Args:
            fields: Values of `FIELDS`; those that are left out are empty.
            images: Number of images; they stand before the text, each as ``{"type": "image"}``.
        """
        values = {**dict.fromkeys(FIELDS, ""), **fields, "task": str(self.kind), "guidance": self.guidance}
        text = self.request.format_map(values)
        return [
            {"role": "system", "content": [{"type": "text", "text": self.system}]},
            {"role": "user", "content": [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]},
        ]


def load_prompts(style: str, root: Path = Path()) -> dict[TaskKind, RewritingPrompt]:
    """The request for each kind of task.

    Args:
        style: One of `STYLES`, or a text file that is a template.
        root: Folder that the file is told from.

    Raises:
        ConfigError: there is no such style or file, or the template has an unknown field or lacks a needed one.
    """
    if style in STYLES:
        return {kind: RewritingPrompt(style, kind, REQUEST, _guidance(style, kind)) for kind in TaskKind}
    template = _read(style, root)
    return {kind: RewritingPrompt(Path(style).name, kind, template, _guidance(DEFAULT, kind)) for kind in TaskKind}


def template_file(style: str) -> str | None:
    """The file that a style names; None: it is a preset."""
    return None if style in STYLES else style


def _guidance(style: str, kind: TaskKind) -> str:
    return f"{STYLES[style]} {KINDS[kind]} {SURVIVES}"


def _read(style: str, root: Path) -> str:
    path = root / style
    if not path.is_file():
        raise ConfigError(
            "no such style, and no file of this name",
            value=style,
            where="rewriting.style",
            next_step=f"one of {', '.join(STYLES)}, or a text file with {{question}} and {{answer}}",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        fields = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        formats = [spec or "!" for _, name, spec, conversion in string.Formatter().parse(text) if spec or conversion]
    except (ValueError, OSError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}", "write {{ and }} for braces that are meant") from None
    if len(text) > MAX_TEMPLATE:
        raise _unusable(path, f"{len(text)} characters", f"at most {MAX_TEMPLATE}")
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    unknown = [name for name in fields if name not in FIELDS]
    if unknown or formats:
        hint = did_you_mean(unknown[0], FIELDS) if unknown and unknown[0] else "fields stand as they are: {answer}"
        shown = [f"{{{name}}}" for name in unknown] or formats
        raise _unusable(path, f"unknown field {', '.join(shown)}", f"the fields are {known} ({hint})")
    missing = [f"{{{name}}}" for name in NEEDED if name not in fields]
    if missing:
        raise _unusable(path, f"{' and '.join(missing)} missing", "a model that is not shown them makes them up")
    return text


def _unusable(path: Path, value: str, hint: str) -> ConfigError:
    return ConfigError("template of rewriting cannot be used", value=value, where=path, next_step=hint)


def plain_dialogue(messages: Any) -> str:
    """Chat messages as the paper writes dialogues, for models without a chat template.

    The text ends where the assistant is to go on: after ``### Assistant: `` or within its last message.
    """
    names = {"user": "\n### Human: ", "assistant": "\n### Assistant: ", "system": ""}
    text = "".join(names[m["role"]] + text_of(m["content"]) for m in messages)
    return text if messages[-1]["role"] == "assistant" else f"{text}\n### Assistant: "


def text_of(content: str | list[dict[str, Any]]) -> str:
    """The text of a message's content, images left out."""
    return content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")
