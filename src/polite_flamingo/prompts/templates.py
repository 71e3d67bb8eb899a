"""The prompts of the paper: assistant (appendix A), rewriter (Figure 3).

The figure writes "(Drafted Response)" without a colon; the authors' code has one, and spells "Assistent". We keep the
colon and spell "Assistant". Images stand before the text of their turn, because OpenFlamingo 2 lets text attend to the
image before it (their v1 prompts put it after the instruction).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Turn

IMAGE_TOKEN = "<image>"
CHUNK_TOKEN = "<|endofchunk|>"
PAD_TOKEN = "<PAD>"
IMAGE = IMAGE_TOKEN + CHUNK_TOKEN

SYSTEM_MESSAGE = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def human(text: str, images: int) -> str:
    r"""One human turn, open for the answer: ``### Human: <image>… text\n### Assistant: ``."""
    return f"### Human: {IMAGE * images}{text}\n### Assistant: "


def assistant_prompt(turns: Sequence[Turn], system: bool = True, *, end: str = "") -> str:
    """Prompt for the answer to the last human turn of `turns` (human, assistant, …, human).

    Args:
        turns: The dialogue so far.
        system: Whether the system message stands first.
        end: The tokenizer's end-of-sequence token, which closes every earlier answer as it did in training.

    Raises:
        DataError: there are earlier answers and no `end`.
    """
    if len(turns) > 1 and not end:
        raise DataError("earlier answers need the token that ends them", next_step="pass end=tokenizer.eos_token")
    parts = [SYSTEM_MESSAGE + "\n"] if system else []
    parts += [human(t.text, len(t.images)) if t.role == "human" else f"{t.text.strip()}{end}\n" for t in turns]
    return "".join(parts)


def rewriter_prompt(instruction: str, drafted: str, images: int, system: bool = True) -> str:
    """Prompt of Figure 3: instruction and drafted response in, revised response expected."""
    head = SYSTEM_MESSAGE + "\n" if system else ""
    return f"{head}{human(instruction, images)}(Drafted Response): {drafted}\n (Revised Response): "


BOX_SENTENCE = (
    "The followings are specific object locations within the image, along with detailed coordinates. These "
    "coordinates are in the form of bounding boxes, represented as (x1, y1, x2, y2) with floating numbers "
    "ranging from 0 to 1. These values correspond to the top left x, top left y, bottom right x, and bottom "
    "right y."
)


def format_boxes(boxes: Iterable[Sequence[Any]], decimals: int) -> str:
    """One line per box, ``name: [x1, y1, x2, y2]``, trailing zeros left out as in PF-1M.

    Args:
        boxes: ``[name, x1, y1, x2, y2]``, normalised to 0..1.
        decimals: Digits kept after the point (section 3.1.3: 3).
    """
    return "\n".join(f"{name}: {[round(float(value), decimals) for value in box]}" for name, *box in boxes)


def captions_and_boxes(captions: Sequence[str], boxes: Sequence[Sequence[Any]], decimals: int) -> str:
    """Captions, then the paper's sentence about coordinates and the boxes; just captions where there are no boxes."""
    text = "\n".join(captions)
    return f"{text}\n\n{BOX_SENTENCE}\n{format_boxes(boxes, decimals)}" if boxes else text
