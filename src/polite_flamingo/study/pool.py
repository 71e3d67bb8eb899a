"""What a study may draw from: answers of models to evaluation samples, or rewrites of a filtering, kept or rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.answer_files import AnswerFile
from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet
from polite_flamingo.benchmarks.matching import QuestionIndex, answers_of, match
from polite_flamingo.benchmarks.samples import add_asked
from polite_flamingo.draws import key
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.evaluate import vqa
from polite_flamingo.evaluate.sets import Kind, set_of
from polite_flamingo.filter.decisions import STATES, read_decided, read_decisions
from polite_flamingo.io.shards import read_shards
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.rouge import rouge_l
from polite_flamingo.study.records import StudyAnswer, StudyItem

MAX_MODELS = 9  # the paper compares nine answerers, and letters are keys
CUT = "cut"  # score of a rewrite: paragraphs that were cut before people saw it
REWRITE = "rewrite"  # who answers in a study of rewrites
SCORES = ("entailed", "rouge_l", "reward", "sts", "exact", "learned")  # of an answer that the report looks at
STRATIFIED_BY = ("learned", "nli", "sts", "change")  # the first of these filters that scored a rewrite
THIRDS = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Pool:
    """Samples to draw from.

    Args:
        groups: Set, or stratum -> ids.
        read: Reads the samples of some ids; their `images` are paths.
        told: Counts for whoever draws.
    """

    groups: Mapping[str, Sequence[str]]
    read: Callable[[Collection[str]], dict[str, StudyItem]]
    told: Mapping[str, Any] = field(default_factory=dict)


def of_answers(
    sources: Mapping[str, Path],
    samples: Path,
    judge: Callable[[Sequence[Rewrite]], Sequence[Rewrite]] | None = None,
) -> Pool:
    """Evaluation samples that every model has answered, by evaluation set.

    Args:
        sources: Model -> folder of scored answers (as `evaluate` writes them) or a file of answers in any known form.
        samples: Folder of evaluation samples, read where no source is a folder of answers.
        judge: Scores the drawn answers that have no scores; None: they go without.

    Raises:
        ConfigError: too many models or none.
        DataError: a file cannot be read, or no sample was answered by all.
    """
    if not 1 <= len(sources) <= MAX_MODELS:
        raise ConfigError("a study compares 1 to 9 models", value=len(sources), where="--answers")
    asked: dict[str, Rewrite] = {}
    answers: dict[str, dict[str, StudyAnswer]] = {model: {} for model in sources}
    told: dict[str, dict[str, int]] = {}
    for model, path in sources.items():
        if path.is_dir():
            own = [Rewrite.from_row(row) for row in read_shards(path)]
            asked |= {answer.id: answer for answer in own if answer.id not in asked}
            answers[model] = {one.id: StudyAnswer(model, one.rewritten, _scores(one)) for one in own}
            told[model] = {"answers": len(own), "of_unknown_samples": 0}
    if not asked:
        asked = {one.id: one.to_rewrite("") for one in map(Sample.from_row, read_shards(samples))}
    sets: dict[str, QuestionSet] = {}
    add_asked(asked.values(), sets)
    index = QuestionIndex(list(sets.values()))
    for model, path in sources.items():
        if not path.is_dir():
            texts, told[model] = read_answers(model, path, index)
            answers[model] = {name: StudyAnswer(model, text) for name, text in texts.items()}
    for model, by_id in answers.items():
        told[model]["missing"] = len(asked.keys() - by_id.keys())
    common = [name for name in asked if all(name in by_id for by_id in answers.values())]
    if not common:
        raise DataError(
            "no sample was answered by every model",
            value={model: len(by_id) for model, by_id in answers.items()},
            where=", ".join(map(str, sources.values())),
            next_step="give answers to the same samples",
        )
    groups: dict[str, list[str]] = {}
    for name in common:
        groups.setdefault(set_of(asked[name].source, asked[name].split), []).append(name)

    def read(names: Collection[str]) -> dict[str, StudyItem]:
        chosen = {name: [own[name] for own in answers.values()] for name in names}
        if judge is not None:
            _judge(chosen, asked, judge)
        return {name: _item(asked[name], set_of(asked[name].source, asked[name].split), chosen[name]) for name in names}

    return Pool(groups, read, {"models": told, "answered_by_all": len(common)})


def _judge(
    chosen: Mapping[str, list[StudyAnswer]],
    asked: Mapping[str, Rewrite],
    judge: Callable[[Sequence[Rewrite]], Sequence[Rewrite]],
) -> None:
    """Score the answers that have no reward yet, in place."""
    unscored = [(name, at) for name, own in chosen.items() for at, one in enumerate(own) if "reward" not in one.scores]
    scored = judge([replace(asked[name], rewritten=chosen[name][at].text) for name, at in unscored])
    for (name, at), answer in zip(unscored, scored, strict=True):
        chosen[name][at] = StudyAnswer(chosen[name][at].model, answer.rewritten, _scores(answer))


def of_filtering(pf1m: Path, states: Sequence[str] = STATES, others: Mapping[str, Path] | None = None) -> Pool:
    """Rewrites of a filtering by stratum: kept or rejected, task, and the third its filter score lies in.

    Args:
        pf1m: The folder of the filtering.
        states: ``kept``, ``rejected`` or both.
        others: Model -> file of other rewrites of the same records, to be judged beside; named by the records' ids.

    Raises:
        DataError: there is no filtering, or no record that all have rewritten.
    """
    given = others or {}
    if len(given) + 1 > MAX_MODELS:
        raise ConfigError("a study compares 1 to 9 models", value=len(given) + 1, where="--answers")
    texts: dict[str, dict[str, str]] = {}
    told: dict[str, dict[str, int]] = {}
    if given:
        items = [BenchmarkItem(row["id"]) for state in states for row in read_decisions(pf1m, state, ["id"])]
        index = QuestionIndex([QuestionSet(REWRITE, Metric.NONE, Kind.QUESTION, items)])
        for model, path in given.items():
            texts[model], told[model] = read_answers(model, path, index)
            told[model]["missing"] = len(items) - len(texts[model])
    groups: dict[str, list[str]] = {}
    for state in states:
        scored: dict[str, list[tuple[float, str]]] = {}
        for row in read_decisions(pf1m, state, ["id", "task", *STRATIFIED_BY]):
            if all(row["id"] in own for own in texts.values()):
                scored.setdefault(f"{state} {row['task']}", []).append((_filter_score(row), row["id"]))
        for name, own in sorted(scored.items()):
            own.sort(key=lambda pair: (pair[0], key(pair[1])))
            cuts = [round(len(own) * part / len(THIRDS)) for part in range(len(THIRDS) + 1)]
            for third, (start, end) in zip(THIRDS, pairwise(cuts), strict=True):
                if end > start:
                    groups[f"{name} {third}"] = [one for _, one in own[start:end]]
    if not groups:
        raise DataError("there is no rewrite to judge", value=list(states), where=pf1m)
    strata = {name: group for group, names in groups.items() for name in names}

    def read(names: Collection[str]) -> dict[str, StudyItem]:
        wanted, found = set(names), {}
        for state in states:
            for rewrite, row in read_decided(pf1m, state, ["cut"]):
                if rewrite.id in wanted:
                    scores = {**_scores(rewrite), CUT: len(row["cut"])}
                    own = [StudyAnswer(REWRITE, rewrite.rewritten, scores)]
                    own += [StudyAnswer(model, other[rewrite.id]) for model, other in texts.items()]
                    found[rewrite.id] = _item(rewrite, strata[rewrite.id], own)
        return found

    return Pool(groups, read, {"rewrites": {group: len(names) for group, names in groups.items()}, "models": told})


def stratum_weights(pool: Pool) -> dict[str, float]:
    """Shares of strata: kept and rejected as many, within each as in the filtering.

    A stratum's samples stand for all of it, so that shares of a whole filtering can be told from them.
    """
    sizes = {group: len(names) for group, names in pool.groups.items()}
    states: Counter[str] = Counter()
    for group, size in sizes.items():
        states[group.partition(" ")[0]] += size
    return {group: size / states[group.partition(" ")[0]] for group, size in sizes.items()}


def read_answers(model: str, path: Path, index: QuestionIndex) -> tuple[dict[str, str], dict[str, int]]:
    """Answers by id of a file in any of the forms that `evaluate-answers` reads, and what became of its records.

    Args:
        model: Its name.
        path: The file.
        index: What was asked.

    Raises:
        DataError: the file cannot be read, or answers something else.
    """
    file = AnswerFile(model, path)
    matched = match(file, index)
    found = {
        index.sets[number].items[place].id: answer.text
        for number, place, answer in answers_of(file, matched)
        if answer.text is not None
    }
    told = matched.counts
    odd = {"doubled": told.doubled, "without_an_answer": told.unanswered, "broken_lines": told.broken}
    unknown = told.unmatched + told.other_question
    return found, {
        "answers": told.records,
        "of_unknown_samples": unknown,
        **{name: count for name, count in odd.items() if count},
    }


def _item(record: Rewrite, group: str, answers: Iterable[StudyAnswer]) -> StudyItem:
    truth = vqa.annotated(record).split(BOX_SENTENCE)[0].strip()
    also = Counter(str(text) for text in record.extras.get("answers") or () if str(text) != truth)
    full = [] if record.raw_answer.startswith(truth) else [record.raw_answer]
    scored = [
        one
        if "rouge_l" in one.scores
        else StudyAnswer(one.model, one.text, {**one.scores, "rouge_l": rouge_l(one.text, truth)})
        for one in answers
    ]
    return StudyItem(
        id=record.id,
        dataset=set_of(record.source, record.split),
        question=record.instruction,
        truth=truth,
        answers=tuple(scored),
        images=tuple(image.path for image in record.images),
        also=(*full, *(text for text, _ in also.most_common())),
        stratum=group,
    )


def _scores(record: Rewrite) -> dict[str, Any]:
    scores = {name: record.scores[name] for name in SCORES if record.scores.get(name) is not None}
    nli = record.scores.get("nli")
    if nli and "entailed" not in scores:
        scores["entailed"] = nli_label(nli) == "entailment"
    return scores


def _filter_score(row: Mapping[str, Any]) -> float:
    values = (row[name]["score"] for name in STRATIFIED_BY)
    return next((float(value) for value in values if value is not None), 0.0)


def parse_sources(named: Sequence[str], folder: Path) -> dict[str, Path]:
    """``NAME``, ``NAME=FOLDER`` or ``NAME=FILE`` -> where the answers of each model lie.

    Args:
        named: As on the command line.
        folder: Holds a folder of answers for a plain name.

    Raises:
        ConfigError: a name is there twice, or no answers of that name.
    """
    sources: dict[str, Path] = {}
    for text in named:
        name, given, place = text.partition("=")
        path = Path(place) if given else folder / name
        if not name or name in sources:
            raise ConfigError("every model needs a name of its own", value=text, where="--answers")
        if not path.exists():
            there = sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
            raise ConfigError(
                "no answers there",
                value=text,
                where=path,
                next_step=f"NAME=FOLDER, NAME=FILE.jsonl, or one of {', '.join(there) or 'none yet: run `evaluate`'}",
            )
        sources[name] = path
    return sources
