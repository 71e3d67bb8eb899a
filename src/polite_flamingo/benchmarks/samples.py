"""Samples of readers and of a pipeline as the sets they ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from polite_flamingo.benchmarks.forms import texts
from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet
from polite_flamingo.evaluate.sets import Kind, kind_of, set_of
from polite_flamingo.records import Rewrite, Sample


def add_samples(samples: Iterable[Sample], sets: dict[str, QuestionSet]) -> None:
    """Put samples of readers or of a pipeline into the sets they are of.

    Args:
        samples: What the readers yield.
        sets: By name; gets more items and more sets.
    """
    from polite_flamingo.evaluate.answers import as_answer

    add_asked((as_answer(sample, sample.response) for sample in samples), sets)


def add_asked(records: Iterable[Rewrite], sets: dict[str, QuestionSet]) -> None:
    """The same of records of answers, whatever their answers are.

    Args:
        records: What was asked, with the annotated answer.
        sets: By name; gets more items and more sets.
    """
    from polite_flamingo.evaluate.answers import MEASURED
    from polite_flamingo.evaluate.captioning import references
    from polite_flamingo.evaluate.multi_image import change_reference
    from polite_flamingo.evaluate.vqa import annotated

    for answer in records:
        if answer.task not in MEASURED:
            continue
        kind = kind_of(answer)
        pick = {Kind.CAPTION: references, Kind.CHANGE: change_reference}.get(kind)
        extras = answer.extras
        told = texts(extras.get("answers")) if kind is Kind.QUESTION else ()
        truth = tuple(pick(answer.raw_answer, extras)) if pick else (told or (annotated(answer),))
        choices = texts(extras.get("choices"))
        label = choices.index(annotated(answer)) if annotated(answer) in choices else -1
        name = set_of(answer.source, answer.split)
        metric = Metric.NONE if pick else Metric.VQA if len(told) > 2 else Metric.CHOICE if label >= 0 else Metric.EXACT
        own = sets.setdefault(name, QuestionSet(name, metric, kind, []))
        own.items.append(
            BenchmarkItem(
                id=answer.id,
                question=answer.instruction,
                image=answer.images[0].path if answer.images else "",
                answers=truth,
                choices=choices,
                label=label,
                objects=_objects(extras),
                aliases=(answer.id.split("/", 2)[-1],),
            )
        )


def _objects(extras: Mapping[str, Any]) -> tuple[str, ...] | None:
    from polite_flamingo.evaluate.chair import categories

    names = (*texts(extras.get("objects")), *(str(box[0]) for box in extras.get("boxes") or ()))
    return names if names and categories().issuperset(names) else None
