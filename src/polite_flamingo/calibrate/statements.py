"""Short answers and verdicts as full sentences, by rule."""

from __future__ import annotations

import re
from random import Random

_SUBJECT = r"(?:the|this|that|these|those|his|her|their) \w+|he|she|it|they"
_DENIED = {"is": " is not ", "are": " are not ", "has": " does not have ", "contains": " does not contain "}


def state(question: str, answer: str) -> str | None:
    """A sentence that answers `question` with the short `answer`; None where no rule fits.

    >>> state("How many cats are there in the image?", "2")
    'There are 2 cats in the image.'
    """
    question_text = " ".join(question.split()).rstrip("? ")
    answer = answer.strip().rstrip(".").lower()
    return _yes_or_no(question_text, answer) if answer in ("yes", "no") else _open(question_text, answer)


def confirm(statement: str, rng: Random) -> str:
    """A sentence that calls `statement` true."""
    clause = statement[0].lower() + statement[1:]
    return rng.choice((f"Yes, {clause}.", f"That is true: {clause}.", f"The statement is true, {clause}."))


def deny(statement: str, rng: Random) -> str:
    """A sentence that calls `statement` false."""
    clause = statement[0].lower() + statement[1:]
    denied = re.sub(r" (is|are|has|contains) ", lambda m: _DENIED[m[1]], clause, count=1)
    if denied == clause:
        return f"No, it is false that {clause}."
    return rng.choice((f"No, {denied}.", f"That is false: {denied}.", f"The statement is false, {denied}."))


def sentence(text: str) -> str:
    """`text` with a capital, one full stop and no blanks before punctuation."""
    text = re.sub(r"\s+([.,;!?])", r"\1", " ".join(text.split())).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _yes_or_no(question_text: str, answer: str) -> str | None:
    reply, negative = answer.capitalize(), answer == "no"
    if match := _match(r"(is|are) there (.+)", question_text):
        return f"{reply}, there {match[1].lower()} {'not ' if negative else ''}{match[2]}."
    if match := _match(r"does (.+?) exist (.+)", question_text):
        thing = match[1]
        many = thing.endswith("s") and not thing.endswith(("ss", "us"))
        some = "no " if negative else "" if many else "an " if thing[0] in "aeiou" else "a "
        return f"{reply}, there {'are' if many else 'is'} {some}{thing} {match[2]}."
    if match := _match(rf"(is|are|was|were) ({_SUBJECT}) (.+)", question_text):
        return f"{reply}, {match[2].lower()} {match[1].lower()}{' not' if negative else ''} {match[3]}."
    return None


def _open(question_text: str, answer: str) -> str | None:
    if match := _match(r"how many (.+?) are (?:there )?(.+)", question_text):
        if answer in ("1", "one"):
            return f"The number of {match[1]} {match[2]} is {answer}."
        return f"There are {'no' if answer == '0' else answer} {match[1]} {match[2]}."
    if match := _match(r"what (?:kind|type|sort) of (.+?) (is|are) (.+)", question_text):
        return f"The {match[1]} {match[2].lower()} {answer}."
    if match := _match(r"(?:what|who|what colou?r) (is|are) (.+)", question_text):
        return f"{sentence(match[2]).rstrip('.')} {match[1].lower()} {answer}."
    return None


def _match(pattern: str, question_text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, question_text, re.IGNORECASE)
