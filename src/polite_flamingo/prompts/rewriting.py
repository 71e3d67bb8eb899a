"""Figure 3's task for models that were not trained on it: an instruction in words. The wording is ours.

The paper's own rewriter needs no instruction (`templates.rewriter_prompt`); a general model does.
"""

from __future__ import annotations

from typing import Any

SYSTEM = "You rewrite terse, machine-like answers about images as a polite and helpful assistant would have given them."

REQUEST = """\
Request:
{instruction}

Draft answer:
{draft}

Rewrite the draft as a natural, polite and well-formatted answer to the request. Keep every fact of the draft, change \
none, and add nothing that neither the draft nor the image shows. Leave out coordinates and bounding boxes. Reply with \
the rewritten answer alone."""


def rewriting_messages(instruction: str, draft: str, images: int) -> list[dict[str, Any]]:
    """Chat messages that ask for the revised response.

    Args:
        instruction: What the raw answer responds to.
        draft: The raw answer.
        images: Number of images; they stand before the text, each as ``{"type": "image"}``.
    """
    text = REQUEST.format_map({"instruction": instruction, "draft": draft})
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]},
    ]


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
