"""Dialogues as tokens with a loss mask per turn (section 4.4; section 3.2 for the rewriter).

Only what the assistant says is learned, with the end-of-sequence token that closes every answer. Turns are joined by a
line break. The system message opens a sequence once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from polite_flamingo.model.tokens import SYSTEM, begin, encode, encode_all, piece, plain
from polite_flamingo.prompts.templates import human, rewriter_prompt
from polite_flamingo.records import RewritePair, Sample
from polite_flamingo.train.collate import IGNORED, Example
from polite_flamingo.train.store import Segment


def encode_samples(tokenizer: Any, samples: Sequence[Sample]) -> list[Segment]:
    """Encode every turn of the samples; each human turn shows its own images before its text."""
    asked: list[str] = []
    answered: list[str] = []
    for sample in samples:
        for turn in sample.turns:
            if turn.role == "human":
                asked.append(human(plain(tokenizer, turn.text), len(turn.images)))
            else:
                answered.append(plain(tokenizer, turn.text.strip()))
    start = len(begin(tokenizer))
    questions = iter([ids[start:] for ids in encode_all(tokenizer, asked)])
    answers = iter(tokenizer(answered, add_special_tokens=False).input_ids if answered else [])
    between = separator(tokenizer)
    return [_segment(sample, questions, answers, between, tokenizer.eos_token_id) for sample in samples]


def encode_sample(tokenizer: Any, sample: Sample) -> Segment:
    """Encode one sample (see `encode_samples`)."""
    return encode_samples(tokenizer, [sample])[0]


def encode_pair(tokenizer: Any, pair: RewritePair) -> Segment:
    """A training sequence of the rewriter: Figure 3's prompt, loss on the revised response and its end only."""
    ids: list[int] = []
    labels: list[int] = []
    prompt = rewriter_prompt(plain(tokenizer, pair.instruction), plain(tokenizer, pair.drafted), len(pair.images))
    _add(ids, labels, encode(tokenizer, prompt), learned=False)
    answer = piece(tokenizer, plain(tokenizer, pair.revised.strip()))
    _add(ids, labels, [*answer, tokenizer.eos_token_id], learned=True)
    images = tuple(image.path for image in pair.images)
    return Segment(pair.id, tuple(ids), tuple(labels), images, 1, pair.source, bool(images))


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


def _segment(
    sample: Sample, questions: Iterator[list[int]], answers: Iterator[list[int]], between: list[int], end: int
) -> Segment:
    ids: list[int] = []
    labels: list[int] = []
    images: list[str] = []
    for index, turn in enumerate(sample.turns):
        if turn.role == "human":
            _add(ids, labels, (between if index else []) + next(questions), learned=False)
            images += [sample.images[i].path for i in turn.images]
        else:
            _add(ids, labels, [*next(answers), end], learned=True)
    return Segment(
        sample.id,
        tuple(ids),
        tuple(labels),
        tuple(images),
        len(sample.turns) // 2,
        sample.source,
        bool(sample.turns[0].images),
    )


def _add(ids: list[int], labels: list[int], tokens: Sequence[int], *, learned: bool) -> None:
    ids += tokens
    labels += tokens if learned else [IGNORED] * len(tokens)
