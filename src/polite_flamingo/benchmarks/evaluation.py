"""One evaluation: every file of answers beside the others, as columns of numbers; the texts are read and let go.

Memory holds the questions and some numbers per answer, however long the answers are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polite_flamingo.benchmarks.answer_files import AnswerFile, SaidAnswer
from polite_flamingo.benchmarks.disagreements import Disagreements
from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet
from polite_flamingo.benchmarks.judges import BATCH, KeptJudge, judged
from polite_flamingo.benchmarks.matching import UNKNOWN, Counts, Matched, QuestionIndex, answers_of, match
from polite_flamingo.benchmarks.scoring import direct_score, score
from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.evaluate.sets import Kind
from polite_flamingo.io.chunks import chunked

Column = np.ndarray[Any, np.dtype[np.float32]]
GRADING = "grading "  # and its number: column of one of several gradings
WRONG = (
    "right",
    "right_text",
    "right_direct",
)  # what a missing answer gets 0 of, where the official evaluation says so


@dataclass(slots=True)
class AnswerColumns:
    """Scores of one file's answers to one set.

    Attributes:
        model: Whose.
        columns: Name -> one value an item, NaN where there is none.
    """

    model: str
    columns: dict[str, Column] = field(default_factory=dict)

    def set(self, place: int, scores: Mapping[str, float], size: int) -> None:
        """Put the scores of one item into the columns."""
        for name, value in scores.items():
            if name not in self.columns:
                self.columns[name] = np.full(size, np.nan, dtype=np.float32)
            self.columns[name][place] = value


@dataclass(slots=True)
class Evaluation:
    """Everything measured of some files, before it is averaged.

    Attributes:
        sets: What was asked.
        answered: Set's name -> its answered files in the order given; those of one model are its seeds.
        counts: Model and name of each file, and what became of its records.
        disagreements: Where judge and truth disagree.
    """

    sets: list[QuestionSet]
    answered: dict[str, list[AnswerColumns]] = field(default_factory=dict)
    counts: list[tuple[str, str, Counts]] = field(default_factory=list)
    disagreements: Disagreements = field(default_factory=Disagreements)

    @property
    def models(self) -> list[str]:
        """Names in the order of the files."""
        return list(dict.fromkeys(model for model, _, _ in self.counts))


def evaluate(
    files: Sequence[AnswerFile], sets: list[QuestionSet], judges: Mapping[str, KeptJudge] | None = None
) -> Evaluation:
    """Score every file.

    Args:
        files: Of answers.
        sets: What was asked.
        judges: By name; without any, only what needs no model.

    Raises:
        DataError: a file cannot be read, or answers something else.
    """
    index = QuestionIndex(sets)
    done = Evaluation(sets)
    ciders = {
        own.name: Cider(item.answers for item in own.items)
        for own in sets
        if own.kind is Kind.CAPTION and len(own.items) > 1
    }
    for file in files:
        matched = match(file, index)
        done.counts.append((file.model, file.path.name, matched.counts))
        its = {
            int(number): AnswerColumns(file.model) for number in np.unique(matched.places[:, 0]) if number != UNKNOWN
        }
        for number, part in _batches(file, sets, matched):
            own = sets[number]
            said = [(place, item, answer.text) for place, item, answer in part if answer.text is not None]
            extra = judged(judges or {}, own, [(item, text) for _, item, text in said])
            grades = {
                place: {**graded(own, answer), **direct_score(item, own, answer.direct)} for place, item, answer in part
            }
            for (place, item, text), more in zip(said, extra, strict=True):
                columns = {**score(item, own, text, ciders.get(own.name)), **more, **grades[place]}
                its[number].set(place, columns, len(own.items))
                done.disagreements.add(file.model, own, item, text, columns)
            for place, _, answer in part:
                if answer.text is None:
                    its[number].set(place, grades[place], len(own.items))
        for number, answered in its.items():
            if sets[number].missing_is_wrong:
                _count_missing(answered)
            if answered.columns:
                done.answered.setdefault(sets[number].name, []).append(answered)
    for own in sets:
        if own.metric is Metric.GRADE and own.name in done.answered:
            done.answered[own.name] = with_grades(own, done.answered[own.name])
    return done


def _batches(
    file: AnswerFile, sets: Sequence[QuestionSet], matched: Matched
) -> Iterator[tuple[int, list[tuple[int, BenchmarkItem, SaidAnswer]]]]:
    """Answers in batches of one set each."""
    for chunk in chunked(answers_of(file, matched), BATCH):
        for wanted in sorted({number for number, _, _ in chunk}):
            yield wanted, [(i, sets[wanted].items[i], answer) for number, i, answer in chunk if number == wanted]


def graded(own: QuestionSet, answer: SaidAnswer) -> dict[str, float]:
    """Grades of an answer as columns: their mean, and each grading's where there are several.

    Args:
        own: The set; only MM-Vet's is measured by grades.
        answer: The record.
    """
    if own.metric is not Metric.GRADE or not answer.grades:
        return {}
    each = {f"{GRADING}{i}": mark for i, mark in enumerate(answer.grades, 1)} if len(answer.grades) > 1 else {}
    return {"right": sum(answer.grades) / len(answer.grades), **each}


def with_grades(own: QuestionSet, answered: list[AnswerColumns]) -> list[AnswerColumns]:
    """Hand the grades of files that hold nothing else to the same model's answers; what several gradings gave is noted.

    Args:
        own: The set; gets the notes.
        answered: Its files, in order.
    """
    kept = [one for one in answered if "words" in one.columns]
    for alone in answered:
        if "words" not in alone.columns:
            ungraded = (one for one in kept if one.model == alone.model and "right" not in one.columns)
            partner = next(ungraded, None)
            if partner is None:
                kept.append(alone)
            else:
                partner.columns |= alone.columns
    for one in kept:
        totals = [100 * float(np.nanmean(column)) for name, column in one.columns.items() if name.startswith(GRADING)]
        if totals:
            told = ", ".join(f"{total:.1f}" for total in totals)
            own.notes.append(f"{one.model}: {len(totals)} gradings, {told}; standard deviation {np.std(totals):.1f}")
    return kept


def _count_missing(answered: AnswerColumns) -> None:
    for name in WRONG:
        if name in answered.columns:
            column = answered.columns[name]
            column[np.isnan(column)] = 0.0
