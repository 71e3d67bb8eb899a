"""What the laptop's rewriter learns from: raw annotations and the full sentences that they should become.

Full sentences are people's where there are some (verbalised answers, rationales, captions, descriptions) and else made
by rule (`laptop.verbalise`). A pair whose full sentence loses the raw answer is not learned. In a third of the short
answers another answer of the same kind is put in the place of the true one, on both sides: the draft is to be believed,
not the picture or the likeliest answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from polite_flamingo.distort.terse_rules import make_terse
from polite_flamingo.distort.text_noise import add_noise
from polite_flamingo.laptop import texts
from polite_flamingo.laptop.verbalise import complete, describe, preserved, verbalise
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt
from polite_flamingo.prompts.requests import CAPTION, PLAIN, STATEMENT
from polite_flamingo.prompts.templates import captions_and_boxes
from polite_flamingo.sources.forms.answers import with_choices, with_reasons
from polite_flamingo.sources.photographs import part_of

SWAPPED = 0.33
MOST_WORDS = 70  # of a response
LEVEL_PROBABILITY = 0.5  # of each level of text noise (section 3.1.2)


@dataclass(frozen=True, slots=True)
class TersePair:
    """A raw annotation and what it should become.

    Args:
        kind: What sort of annotation, for the figures.
        instruction: What is asked.
        draft: The raw annotation.
        response: The full sentences.
        answer: The short answer that must survive; empty: none.
        image: The photograph, or None.
    """

    kind: str
    instruction: str
    draft: str
    response: str
    answer: str = ""
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Annotations:
    """All annotations of one part of the split."""

    questions: list[texts.Inquiry]
    statements: list[texts.Inquiry]
    captions: dict[str, list[str]]
    objects: dict[str, list[str]]
    verbalised: list[texts.Inquiry]
    responses: list[texts.Inquiry]

    @classmethod
    def read(cls, root: Path, part: str) -> Annotations:
        """Those whose photograph, or whose text where there is none, is in `part`."""

        def mine(listed: Sequence[texts.Inquiry]) -> list[texts.Inquiry]:
            return [q for q in listed if part_of(q.image or q.text or q.reasons[0]) == part]

        return cls(
            mine(texts.questions(root)),
            mine(texts.statements(root)),
            {image: found for image, found in texts.captions(root).items() if part_of(image) == part},
            texts.objects(root),
            mine(texts.verbalised(root)),
            mine(texts.responses(root)),
        )

    def draw(self, rng: Random) -> list[TersePair]:
        """Pairs of an epoch, whose full sentences keep the raw answer."""
        found: list[TersePair] = []
        others = _answers_by_kind(self.questions)
        for question in self.questions:
            found += short_answer(question, others, rng)
            if question.reasons:
                found += short_answer(question, others, rng)
        found += [_statement(statement, rng) for statement in self.statements]
        found += [
            _captions(image, known, self.objects.get(image, []), rng) for image, known in sorted(self.captions.items())
        ]
        for question in rng.sample(self.verbalised, min(len(self.verbalised), 4000)):
            draft = _varied(question.answer, rng)
            found.append(TersePair("verbalised", question.text, draft, question.reasons[0], question.answer))
        for response in rng.sample(self.responses, min(len(self.responses), 3000)):
            found.append(_distorted(response, rng))
        return [pair for pair in found if keeps(pair)]


def keeps(pair: TersePair) -> bool:
    """Whether a pair teaches copying: its response is whole, not too long, keeps the answer, and is not the draft."""
    words = len(pair.response.split())
    return complete(pair.response) and words <= MOST_WORDS and preserved(pair.answer, pair.response)


def short_answer(question: texts.Inquiry, others: dict[str, list[str]], rng: Random) -> list[TersePair]:
    """Pairs of one question: its answer alone, among choices, with reasons."""
    answer, pairs = question.answer, []
    if rng.random() < SWAPPED:
        answer = rng.choice(others[_answer_kind(answer)])
    full = verbalise(question.text, answer)
    asked, choices = question.text, question.choices
    if not choices and rng.random() < 0.1:
        pool = others[_answer_kind(answer)]
        listed = dict.fromkeys([answer, *rng.sample(pool, min(3, len(pool)))])
        choices = tuple(rng.sample(list(listed), len(listed)))
    if len(choices) > 1 and answer in choices:
        asked = with_choices(asked, choices)
    if full is not None:
        kind = "yes_no" if answer.lower() in ("yes", "no") else "short_answer"
        pairs.append(TersePair(kind, asked, _varied(answer, rng), full, answer, question.image))
    if question.reasons and answer == question.answer:
        pairs += _reasoned(question, asked, full, rng)
    return pairs


def _reasoned(question: texts.Inquiry, asked: str, full: str | None, rng: Random) -> list[TersePair]:
    """The answer and people's reasons: all of them said, "because" where the answer stands by itself."""
    reasons = list(question.reasons)
    rng.shuffle(reasons)
    reasons = reasons[: rng.choice((1, 1, 2, 3))]
    typed = [_as_typed(reason, rng) for reason in reasons]
    draft = with_reasons(question.answer, typed) if rng.random() < 0.8 else f"{question.answer}. {' '.join(typed)}"
    polar = question.answer.lower() in ("yes", "no")
    if full is None and polar:
        full = f"{question.answer.capitalize()}."
    if full is None:
        reasons.sort(key=lambda reason: not preserved(question.answer, reason))
        response = " ".join(reasons)
    elif rng.random() < 0.5 and not reasons[0].lower().startswith(("because", "yes", "no")):
        first = reasons[0][:1].lower() + reasons[0][1:] if not reasons[0].startswith("I ") else reasons[0]
        response = " ".join(
            [f"{full.rstrip('.')}{',' if full in ('Yes.', 'No.') else ''} because {first}", *reasons[1:]]
        )
    else:
        response = " ".join([full, *reasons])
    return [TersePair("rationale", asked, draft, response, question.answer, question.image)]


def _statement(statement: texts.Inquiry, rng: Random) -> TersePair:
    """A statement and its truth, asked for as true or false or, with a reason, as e-SNLI-VE's reader does."""
    if statement.answer == texts.UNTOLD or (statement.reasons and rng.random() < 0.6):
        return _judged(statement, rng)
    asked = rng.choice(STATEMENT).replace("{statement}", statement.text)
    clause = statement.text[:1].lower() + statement.text[1:].rstrip(".")
    if statement.answer == "True":
        said = rng.choice((f"True, {clause}.", f"The statement is true: {clause}.", f"It is true that {clause}."))
    else:
        said = rng.choice(
            (
                f"False, it is not the case that {clause}.",
                f"The statement is false: it is not true that {clause}.",
                f"It is false that {clause}.",
            )
        )
    draft = _varied(statement.answer, rng)
    if statement.reasons and rng.random() < 0.5:
        draft, said = with_reasons(statement.answer, statement.reasons[:1]), f"{said} {statement.reasons[0]}"
    return TersePair("statement", asked, draft, said, statement.answer, statement.image)


def _judged(statement: texts.Inquiry, rng: Random) -> TersePair:
    answer = {"True": "yes", "False": "no"}.get(statement.answer, statement.answer)
    asked = with_choices(f'Is this so: "{statement.text}"', ["yes", "no", texts.UNTOLD])
    clause = statement.text[:1].lower() + statement.text[1:].rstrip(".")
    verdicts = {"yes": f"Yes, {clause}", "no": f"No, it is not so that {clause}"}
    said = verdicts.get(answer, f"It cannot be told whether {clause}")
    reasons = statement.reasons[:1]
    draft = with_reasons(answer, [_as_typed(reason, rng) for reason in reasons]) if reasons else _varied(answer, rng)
    return TersePair("judged", asked, draft, " ".join([f"{said}.", *reasons]), answer, statement.image)


def _as_typed(reason: str, rng: Random) -> str:
    """A reason as annotators type it, most often in lower case and without a full stop."""
    return reason if rng.random() < 0.4 else reason[:1].lower() + reason[1:].rstrip(".")


def _captions(image: str, known: Sequence[str], objects: Sequence[str], rng: Random) -> TersePair:
    """Raw captions, now and then one only or with boxes, as one description."""
    shown = list(known) if rng.random() < 0.8 else [rng.choice(known)]
    rng.shuffle(shown)
    lines = [line if rng.random() < 0.7 else line.rstrip(".") + rng.choice(("", " .")) for line in shown]
    if rng.random() < 0.15:
        lines = [line[:1].lower() + line[1:] for line in lines]
    boxes = [(name, *_box(rng)) for name in objects] if objects and rng.random() < 0.3 else []
    asked = rng.choice(CAPTION if rng.random() < 0.7 else PLAIN)
    return TersePair("captions", asked, captions_and_boxes(lines, boxes, 3), describe(shown, rng), "", image)


def _distorted(response: texts.Inquiry, rng: Random) -> TersePair:
    """A good response and what the paper's distortions make of it (section 3.1)."""
    good = response.reasons[0].strip()
    asked = response.text or rng.choice(CAPTION)
    if rng.random() < 0.7:
        command = rng.choice(COMMANDS) if rng.random() < 0.5 else ""
        draft = make_terse(DistortionPrompt(asked, good, command), rng)
    else:
        draft = add_noise(good, rng, LEVEL_PROBABILITY)
    return TersePair("response", asked, draft, good, "", response.image)


def _varied(answer: str, rng: Random) -> str:
    """A short answer as data sets write them."""
    forms: tuple[Callable[[str], str], ...] = (
        lambda text: text,
        lambda text: text,
        str.lower,
        lambda text: text[:1].upper() + text[1:],
        lambda text: f"{text[:1].upper()}{text[1:]}.",
        lambda text: f"Answer: {text[:1].upper()}{text[1:]}.",
        lambda text: f"Answer: {text}",
    )
    return rng.choice(forms)(answer)


def _answer_kind(answer: str) -> str:
    if answer.lower() in ("yes", "no"):
        return "polar"
    return "number" if re.fullmatch(r"\d+", answer) else "words"


def _answers_by_kind(questions: Sequence[texts.Inquiry]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {"polar": {"yes", "no"}, "number": {"2", "3"}, "words": {"table", "chair"}}
    for question in questions:
        found[_answer_kind(question.answer)].add(question.answer)
    found["number"] |= {str(number) for number in range(1, 40)}
    return {kind: sorted(answers) for kind, answers in found.items()}


def _box(rng: Random) -> tuple[float, float, float, float]:
    """A box anywhere: what is learned of boxes is to leave them out."""
    x, y = rng.random() * 0.7, rng.random() * 0.7
    return x, y, x + rng.random() * (1 - x), y + rng.random() * (1 - y)
