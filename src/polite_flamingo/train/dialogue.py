"""Dialogues as tokens with a loss mask per turn (section 4.4; section 3.2 for the rewriter).

Only what the assistant says is learned, with the end-of-sequence token that closes every answer. Turns are joined by a
line break. The system message opens a sequence once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polite_flamingo.model.tokens import SYSTEM, begin, encode, piece, plain
from polite_flamingo.prompts.templates import IMAGE_TOKEN, human, rewriter_prompt
from polite_flamingo.records import RewritePair, Sample
from polite_flamingo.train.collate import IGNORED, Example


@dataclass(frozen=True, slots=True)
class Segment:
    """A dialogue without the system message, ready to be joined with others.

    Args:
        id: The sample's id.
        input_ids: Token ids.
        labels: Token ids where learned, -100 elsewhere.
        images: Path of the image of each ``<image>`` token.
        turns: Number of human turns.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    images: tuple[str, ...]
    turns: int


def encode_sample(tokenizer: Any, sample: Sample) -> Segment:
    """Encode every turn of a sample; each human turn shows its own images before its text."""
    ids: list[int] = []
    labels: list[int] = []
    images: list[str] = []
    for index, turn in enumerate(sample.turns):
        if turn.role == "human":
            text = human(plain(tokenizer, turn.text), len(turn.images))
            _add(ids, labels, (separator(tokenizer) if index else []) + encode_part(tokenizer, text), learned=False)
            images += [sample.images[i].path for i in turn.images]
        else:
            _add(ids, labels, _answer(tokenizer, turn.text), learned=True)
    return Segment(sample.id, tuple(ids), tuple(labels), tuple(images), len(sample.turns) // 2)


def encode_pair(tokenizer: Any, pair: RewritePair, context_length: int) -> Example | None:
    """A training sequence of the rewriter: Figure 3's prompt, loss on the revised response and its end only.

    Returns:
        None when the prompt leaves no room for a single token of the revised response.
    """
    ids: list[int] = []
    labels: list[int] = []
    prompt = rewriter_prompt(plain(tokenizer, pair.instruction), plain(tokenizer, pair.drafted), len(pair.images))
    _add(ids, labels, encode(tokenizer, prompt), learned=False)
    _add(ids, labels, _answer(tokenizer, pair.revised), learned=True)
    return truncate(
        Example(pair.id, tuple(ids), tuple(labels), tuple(image.path for image in pair.images)),
        context_length,
        media=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )


def truncate(example: Example, context_length: int, *, media: int) -> Example | None:
    """Cut an over-long example at its end; None when no learned token would be left."""
    if len(example) <= context_length:
        return example
    ids, labels = example.input_ids[:context_length], example.labels[:context_length]
    cut = Example(example.id, ids, labels, example.images[: ids.count(media)])
    return cut if cut.supervised else None


def opening(tokenizer: Any) -> list[int]:
    """Tokens of the beginning of a sequence and the system message."""
    return begin(tokenizer) + piece(tokenizer, SYSTEM)


def separator(tokenizer: Any) -> list[int]:
    """Tokens between an answer and the next human turn."""
    return piece(tokenizer, "\n")


def encode_part(tokenizer: Any, text: str) -> list[int]:
    """Like `model.tokens.encode`, for a text that does not open the sequence."""
    return encode(tokenizer, text)[len(begin(tokenizer)) :]


def _answer(tokenizer: Any, text: str) -> list[int]:
    return [*piece(tokenizer, plain(tokenizer, text.strip())), tokenizer.eos_token_id]


def _add(ids: list[int], labels: list[int], tokens: Sequence[int], *, learned: bool) -> None:
    ids += tokens
    labels += tokens if learned else [IGNORED] * len(tokens)
