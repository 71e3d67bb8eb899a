"""Which kind of task a record is, and what of it a request may show."""

from __future__ import annotations

import re

from polite_flamingo.prompts.requests import CLASSIFY
from polite_flamingo.prompts.rewriting import TaskKind
from polite_flamingo.records import Sample, Task

TEXT_SETS = frozenset({"ocrvqa", "textcaps", "textvqa"})  # their answers are what is written in the image
CLASS_WORDS = 4  # of the raw answer of a captioning task, at most: the name of a class
REASON_WORDS = 12  # of the answer to a question, above which it holds more than the answer
_FIRST = re.compile(r"(?:answer:\s*)?([a-z]+)\b")
_POLAR = {"yes", "no", "true", "false"}
_COUNT = re.compile(r"\b(?:how many|number of|count)\b")
_WRITTEN = re.compile(
    r"\b(?:written|printed|spelled|spells?|says?|reads?|licen[cs]e plate|what (?:word|letter|text|title|brand)s?)\b"
)
_REASON = re.compile(r"\b(?:because|since|therefore|so that)\b")


def kind_of(sample: Sample) -> TaskKind:
    """The kind of task of an annotation, from what is asked, the raw answer and what its data set adds to it."""
    answer, question = sample.response.strip().lower(), sample.instruction.lower()
    words = answer.split()
    if sample.task is Task.CHANGE:
        return TaskKind.CHANGE
    if sample.task.is_caption:
        named = len(words) <= CLASS_WORDS and not sample.extras.get("boxes")
        return TaskKind.CLASSIFICATION if named or sample.instruction in CLASSIFY else TaskKind.CAPTION
    if sample.extras.get("rationales") or (sample.task.is_vqa and _REASON.search(answer)):
        return TaskKind.RATIONALE
    if not sample.task.is_short(answer):
        return TaskKind.GENERAL
    first = _FIRST.match(answer)
    if first is not None and first.group(1) in _POLAR:
        return TaskKind.YES_NO
    if _COUNT.search(question):
        return TaskKind.COUNTING
    if sample.source in TEXT_SETS or _WRITTEN.search(question):
        return TaskKind.TEXT_IN_IMAGE
    return TaskKind.RATIONALE if len(words) > REASON_WORDS else TaskKind.SHORT_ANSWER


def fields_of(sample: Sample) -> tuple[tuple[str, str], ...]:
    """The fields of a template beside question and answer."""
    choices = "\n".join(map(str, sample.extras.get("choices") or ()))
    return (("choices", choices), ("source", sample.source))
