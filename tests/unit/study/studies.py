"""Small studies for tests, made in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from polite_flamingo.study.create import StudyPlan, create
from polite_flamingo.study.drawing import EVEN
from polite_flamingo.study.forms import ANSWERS, StudyForm
from polite_flamingo.study.pool import Pool
from polite_flamingo.study.records import StudyAnswer, StudyEvent, StudyItem
from polite_flamingo.study.store import StudyFile

ANNOTATORS = ("Anna", "Ben")


def pool(count: int, models: Sequence[str] = ("one", "two", "three"), stratum: str = "vqav2", **scores: float) -> Pool:
    """`count` questions of one group with one image, each answered by all models."""
    items = {
        f"vqav2/test/{n}": StudyItem(
            id=f"vqav2/test/{n}",
            dataset="vqav2",
            question=f"Question {n}?",
            truth="yes",
            answers=tuple(StudyAnswer(model, f"Yes, says {model} <b>{n}</b>.", scores) for model in models),
            images=("images/a.png",),
        )
        for n in range(count)
    }
    return Pool({stratum: list(items)}, lambda names: {name: items[name] for name in names})


def study(
    folder: Path,
    count: int = 4,
    *,
    form: StudyForm = ANSWERS,
    own: Pool | None = None,
    shared: int | None = None,
    guidelines: str | None = None,
) -> StudyFile:
    """A study of `count` samples for two annotators."""
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(folder / "images" / "a.png")
    plan = StudyPlan(form, ANNOTATORS, "A study", guidelines, count, None, shared, seed=1, origin=EVEN)
    create(folder / "study.sqlite", plan, own or pool(count), folder)
    return StudyFile(folder / "study.sqlite")


def label(item: str, annotator: str, slot: int, value: str, *, round_: int = 1, criterion: str = "label") -> StudyEvent:
    """A label as a click."""
    key = f"{annotator}:{item}:{slot}:{criterion}:{round_}:{value}"
    return StudyEvent(key, annotator, item, round_, "label", slot, criterion, value)


def rank(item: str, annotator: str, places: str) -> StudyEvent:
    """A ranking as a click."""
    return StudyEvent(f"{annotator}:{item}:{places}", annotator, item, 1, "rank", value=places)


def judge_all(own: StudyFile, annotator: str, labels: Iterable[str]) -> None:
    """Let one annotator label every answer of every sample, in the file's order, and rank them as they stand."""
    labels = iter(labels)
    events = []
    for item in own.items():
        events += [label(item.id, annotator, slot, next(labels)) for slot in range(len(item.answers))]
        events.append(rank(item.id, annotator, str([[slot] for slot in range(len(item.answers))])))
    own.add_all(events)
