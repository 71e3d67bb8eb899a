"""What a vision-language judge is asked about a rewrite, and how its verdict is read. Ours, beyond the paper.

The reply is JSON; an endpoint that can is bound to the schema. From others comes what models write: fences around it, a
sentence before it, words for truth values. All that is understood; what remains is malformed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from polite_flamingo.texts import cleaned

SYSTEM = "You check answers about images. You are strict, and you go by what can be seen."

REQUEST = """\
Request:
{question}

Annotated answer, which is true:
{answer}

Answer to check:
{text}

Split the answer to check into its statements about the image. A statement is supported where the image shows it or \
the annotated answer says it; courtesies are no statements. The answer is the same where it answers the request as the \
annotated answer does, in whatever words; a description is the same where it contradicts nothing of the annotation. \
Reply with JSON alone:
{{"statements": number of statements, "unsupported": [those not supported, quoted], "same_answer": true or false, \
"reason": "one sentence"}}"""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "statements": {"type": "integer"},
        "unsupported": {"type": "array", "items": {"type": "string"}},
        "same_answer": {"type": "boolean"},
        "reason": {"type": "string"},
    },
    "required": ["statements", "unsupported", "same_answer", "reason"],
    "additionalProperties": False,
}
MAX_REASON = 300  # characters
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class JudgeVerdict:
    """What a judge found.

    Args:
        supported: Share of the statements that are supported.
        same_answer: Whether the annotated answer is given.
        reason: In its words; the first unsupported statements where it gives none.
    """

    supported: float
    same_answer: bool
    reason: str


def judging_messages(question: str, answer: str, text: str, images: int) -> list[dict[str, Any]]:
    """Chat messages that ask for a verdict.

    Args:
        question: What was asked.
        answer: The raw answer.
        text: The rewrite.
        images: Number of images; they stand before the text, each as ``{"type": "image"}``.
    """
    asked = REQUEST.format(question=question, answer=answer, text=text)
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [*({"type": "image"} for _ in range(images)), {"type": "text", "text": asked}]},
    ]


def read_verdict(text: str) -> JudgeVerdict | None:
    """The verdict in a reply; None: it is malformed."""
    for value in _objects(text):
        same = value.get("same_answer")
        same = _TRUTH.get(same.strip().lower()) if isinstance(same, str) else same
        unsupported = value.get("unsupported")
        count = len(unsupported) if isinstance(unsupported, list) else unsupported
        if not isinstance(same, bool) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
            continue
        statements = value.get("statements")
        total = max(statements if isinstance(statements, int) else 0, count, 1)
        listed = "; ".join(map(str, unsupported)) if isinstance(unsupported, list) else ""
        reason = " ".join(cleaned(str(value.get("reason") or listed)).split())[:MAX_REASON]
        return JudgeVerdict(round(1 - count / total, 4), same, reason)
    return None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, from the first brace on; one that ends early is not mended."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield value
        start = text.find("{", start + 1)
