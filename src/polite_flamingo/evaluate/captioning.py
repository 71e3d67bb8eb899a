"""Captioning (section 5): Rouge-L and semantic similarity to the annotated captions; CIDEr and CHAIR are ours.

The paper compares a caption with the annotations by Rouge-L and does not say what happens to several annotations of one
image. We take the closest reference, as the COCO caption evaluation does; the same for semantic similarity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.chair import check_objects, shown_objects
from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.evaluate.sets import Kind, kind_of, set_of
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from polite_flamingo.scorers.sts import StsScorer


def references(raw_answer: str, extras: Mapping[str, Any]) -> list[str]:
    """Captions an answer may be compared with, without the bounding boxes that follow them.

    Args:
        raw_answer: Captions one per line, then possibly boxes (the published form of PF-1M).
        extras: The sample's extras; ``captions`` is preferred.
    """
    captions = [text.strip() for text in extras.get("captions") or () if text.strip()]
    return captions or [line.strip() for line in raw_answer.split(BOX_SENTENCE)[0].splitlines() if line.strip()]


def best_rouge_l(answer: str, captions: Sequence[str]) -> float:
    """Rouge-L (F measure, Porter stemmer) of `answer` with the closest of `captions`; 0.0 without captions."""
    return max((rouge_l(answer, caption) for caption in captions), default=0.0)


def best_sts(answers: Sequence[Rewrite], captions: Sequence[Sequence[str]], sts: StsScorer) -> list[float | None]:
    """Cosine of each answer with the closest of its captions, all scored in one call.

    Args:
        answers: Rewrites whose `rewritten` is a model's answer.
        captions: The references of each.
        sts: Semantic similarity of `rewritten` and `raw_answer`.

    Returns:
        One cosine per answer, None where there was no reference or the scorer did not apply.
    """
    pairs = [replace(a, raw_answer=text) for a, texts in zip(answers, captions, strict=True) for text in texts]
    scores = iter(sts.score(pairs))
    best: list[float | None] = []
    for texts in captions:
        values = [value for value in (next(scores) for _ in texts) if value is not None]
        best.append(max(values) if values else None)
    return best


def cider_by_set(annotated: Iterable[Rewrite]) -> dict[str, Cider]:
    """CIDEr of every set of captions.

    Args:
        annotated: A record per sample of the whole evaluation, whatever its answer.
    """
    sets: dict[str, list[list[str]]] = {}
    for record in annotated:
        if record.task is Task.CAPTION and kind_of(record) is Kind.CAPTION:
            sets.setdefault(set_of(record.source, record.split), []).append(
                references(record.raw_answer, record.extras)
            )
    return {name: Cider(texts) for name, texts in sets.items()}


def object_scores(answer: Rewrite, captions: Sequence[str]) -> dict[str, object]:
    """CHAIR's columns of a caption; none where the objects of the image are not annotated.

    Returns:
        ``objects`` named, ``chair_s``: is one of them invented, ``chair_i``: share of those that are; None without any.
    """
    shown = shown_objects(answer.extras, captions)
    if shown is None:
        return {}
    checked = check_objects(answer.rewritten, shown)
    share = len(checked.invented) / len(checked.named) if checked.named else None
    return {"objects": len(checked.named), "chair_s": bool(checked.invented), "chair_i": share}
