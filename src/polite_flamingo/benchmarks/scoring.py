"""Scores of one answer that need no model: right or not by the set's own metric, wording, objects, form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet, bare
from polite_flamingo.benchmarks.metrics.choice import NOTHING, chosen, chosen_by_letter, exact, relaxed, says_yes
from polite_flamingo.benchmarks.metrics.vqa import (
    contains,
    direct_accuracy,
    soft_accuracy,
    textvqa_accuracy,
    vqa_accuracy,
)
from polite_flamingo.evaluate.captioning import best_rouge_l
from polite_flamingo.evaluate.chair import check_objects, named_objects
from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.evaluate.sets import Kind

AnswerScores = dict[str, float]
KEPT = 2048  # captions whose objects are remembered
_SENTENCE = re.compile(r"[.!?…][\"')\]]*$")


def score(item: BenchmarkItem, own: QuestionSet, text: str, cider: Cider | None = None) -> AnswerScores:
    """Every score of one answer that needs no model.

    Args:
        item: The question.
        own: Its set.
        text: The answer.
        cider: CIDEr of the set, of captions.

    Returns:
        Column -> value; a column that does not apply is absent.
    """
    scores = form(text)
    if item.answers:
        scores["rouge_l"] = best_rouge_l(text, item.answers)
        if own.kind is Kind.QUESTION:
            scores["contained"] = float(contains(text, item.answers))
        scores["unchanged"] = float(bare(text) in {bare(answer) for answer in item.answers})
    if own.kind is Kind.CAPTION:
        if cider is not None and item.answers:
            scores["cider"] = cider.score(text, item.answers)
        scores.update(_objects(item, text))
    scores.update(_official(item, own.metric, text))
    return scores


def direct_score(item: BenchmarkItem, own: QuestionSet, direct: str | None) -> AnswerScores:
    """The direct answer that a file gives beside its choice, in place of that as one; nothing where it gives none."""
    if direct is None or own.metric is not Metric.CHOICE or len(item.answers) < 2:
        return {}
    return {"right_direct": direct_accuracy(direct, item.answers)}


def form(text: str) -> AnswerScores:
    """Length in words, and whether an answer is made of whole sentences: a capital first, a closing mark last."""
    said = text.strip()
    whole = bool(said) and said[0].isupper() and bool(_SENTENCE.search(said)) and len(said.split()) > 1
    return {"words": float(len(said.split())), "sentences": float(whole)}


def _official(item: BenchmarkItem, metric: Metric, text: str) -> AnswerScores:
    """The set's own metric of one answer, as ``right``, and what its other figures are made of."""
    match metric:
        case Metric.NONE | Metric.GRADE:
            return {}
        case _ if not item.answers:
            return {}
        case Metric.YES_NO:
            yes = says_yes(text) if item.choices[1:] == ("yes",) else chosen(text, item.choices) == 1
            if item.choices[1:] != ("yes",) and chosen(text, item.choices) == NOTHING:
                yes = says_yes(text)
            return _yes_no(yes, item.label == 1)
        case Metric.CHOICE:
            told = len(item.answers) > 1 and exact(text, item.choices[item.label])  # A-OKVQA's compares the text
            scores = {
                "right": float(told or chosen_by_letter(text, item.choices) == item.label),
                "right_text": float(chosen(text, item.choices) == item.label),
            }
            return {**scores, "right_direct": direct_accuracy(text, item.answers)} if len(item.answers) > 1 else scores
        case Metric.VQA:
            return {"right": vqa_accuracy(text, item.answers)}
        case Metric.TEXTVQA:
            return {"right": textvqa_accuracy(text, item.answers)}
        case Metric.DIRECT:
            return {"right": direct_accuracy(text, item.answers)}
        case Metric.SOFT:
            return {"right": soft_accuracy(text, item.answers, item.weights)}
        case Metric.RELAXED:
            return {"right": float(any(relaxed(text, answer) for answer in item.answers))}
        case Metric.CONTAINED:
            return {"right": float(contains(text, item.answers))}
        case Metric.EXACT:
            return {"right": float(any(exact(text, answer) for answer in item.answers))}


def _yes_no(yes: bool, truth: bool) -> AnswerScores:
    return {
        "right": float(yes is truth),
        "yes": float(yes),
        "true_yes": float(yes and truth),
        "truth_yes": float(truth),
    }


def _objects(item: BenchmarkItem, text: str) -> Mapping[str, float]:
    if item.objects is None:
        return {}
    checked = check_objects(text, _shown(item.objects, item.answers))
    return {
        "chair_s": float(bool(checked.invented)),
        "objects": float(len(checked.named)),
        "invented": float(len(checked.invented)),
    }


@lru_cache(KEPT)
def _shown(objects: tuple[str, ...], captions: tuple[str, ...]) -> frozenset[str]:
    return frozenset(objects).union(*map(named_objects, captions))
