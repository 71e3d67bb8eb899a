"""Models that a pipeline has not trained, beside its own: their answers to its evaluation samples (section 5).

A backend is asked through the engine with the words and images that our own models get; a file of answers is matched as
`evaluate-answers` does, by id (``source/split/id``, or the set's own) or by image and words.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.benchmarks.answer_files import AnswerFile
from polite_flamingo.benchmarks.items import QuestionSet
from polite_flamingo.benchmarks.matching import QuestionIndex, answers_of, match
from polite_flamingo.benchmarks.questions import AskedQuestion, ask_backend
from polite_flamingo.benchmarks.samples import add_samples
from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.answers import as_answer
from polite_flamingo.evaluate.settings import OtherModel
from polite_flamingo.jobs.backends.load import BackendOptions
from polite_flamingo.records import Rewrite, Sample

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

LOG = logging.getLogger(__name__)
SHOWN = 10  # reasons why there is no answer


def answers_of_others(
    models: Sequence[OtherModel],
    samples: Sequence[Sample],
    settings: GenerationSettings,
    options: BackendOptions,
    work: Path,
) -> tuple[dict[str, list[Rewrite]], dict[str, dict[str, Any]]]:
    """Unscored answers of every model, and what became of its questions.

    Args:
        models: Who answers.
        samples: What is asked.
        settings: Decoding, as of our own models.
        options: Machine and folders of the backends.
        work: Folder of the unfinished work.

    Returns:
        Answers by name, in the order of the samples; and by name ``from``, ``asked``, ``answered``, the file's counts.

    Raises:
        DataError: a file answers something else, or a model answered nothing.
        ModelError: a backend answers nothing any more.
    """
    answers: dict[str, list[Rewrite]] = {}
    told: dict[str, dict[str, Any]] = {}
    index = QuestionIndex(_sets(samples)) if any(model.file for model in models) else None
    for model in models:
        more: dict[str, Any]
        if model.file is not None and index is not None:
            texts, more = _from_file(AnswerFile(model.name, model.file), index)
        else:
            texts, more = _from_backend(model, samples, settings, options, work / model.name)
        answers[model.name] = [as_answer(sample, *texts[sample.id]) for sample in samples if sample.id in texts]
        answered = len(answers[model.name])
        told[model.name] = {"from": model.spec, "asked": len(samples), "answered": answered, **more}
        if not answered:
            raise DataError("a model answered nothing", value=more, where=f"evaluate.models: {model.spec}")
        if answered < len(samples):
            LOG.warning("%s answered %d of %d samples: %s", model.name, answered, len(samples), more)
    return answers, told


def _sets(samples: Sequence[Sample]) -> list[QuestionSet]:
    sets: dict[str, QuestionSet] = {}
    add_samples(samples, sets)
    return list(sets.values())


def _from_file(file: AnswerFile, index: QuestionIndex) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    matched = match(file, index)
    found = {
        index.sets[number].items[place].id: (answer.text, "stop")
        for number, place, answer in answers_of(file, matched)
        if answer.text is not None
    }
    counts = {name: value for name, value in matched.counts.to_json().items() if value and name != "notes"}
    return found, {**counts, "notes": matched.counts.notes}


def _from_backend(
    model: OtherModel, samples: Sequence[Sample], settings: GenerationSettings, options: BackendOptions, journal: Path
) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    first = [(sample, sample.turns[0]) for sample in samples]
    questions = [AskedQuestion(s.id, turn.text, tuple(s.images[i].path for i in turn.images)) for s, turn in first]
    found: dict[str, tuple[str, str]] = {}
    reasons: Counter[str] = Counter()
    outcomes = ask_backend(questions, model.spec, settings, options, journal, f"answers of {model.name}")
    for sample, outcome in zip(samples, outcomes, strict=True):
        if outcome.answer is not None:
            found[sample.id] = (outcome.answer.text, outcome.answer.finish_reason)
        else:
            reasons[outcome.reason] += 1
    return found, {"reasons": dict(reasons.most_common(SHOWN))} if reasons else {}
