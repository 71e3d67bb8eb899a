"""Evaluation sets (section 5, appendix E): what an answer is measured by, set by set, and means over sets.

A set is a data set, whichever of its splits are asked; the fifteen of ELEVATER are one, as in Figure 9. It is in domain
if annotations of it are trained on (the set is in PF-1M), out of domain if not. The embedded world's split
``out_of_domain``, which holds what its training never shows, is a set of its own, out of domain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from polite_flamingo.evaluate import vqa
from polite_flamingo.evaluate.bootstrap import Figure, mean_over_sets
from polite_flamingo.records import Rewrite, Task

FAMILIES = ("elevater",)  # data sets whose names begin so count as one
POOLED = "all"


class Kind(StrEnum):
    """What is asked of a set, which decides how its answers are measured."""

    CAPTION = "caption"  # Table 1: Rouge-L, STS; ours: CIDEr, CHAIR
    CHANGE = "change"  # Table 2: STS, Rouge-L
    PAIR = "pair"  # a statement on two images, NLVR2; Table 2: STS, Rouge-L
    QUESTION = "question"  # Table 1, Figure 9: NLI accuracy; Figure 11: Rouge-L in contrast


SCORES = {  # figure of a set -> column of an answer
    "nli": "entailed",
    "exact": "exact",
    "rouge_l": "rouge_l",
    "sts": "sts",
    "reward": "reward",
    "cider": "cider",
    "chair_s": "chair_s",
    "chair_i": "chair_i",
    "objects": "objects",
}
WEIGHTS = {"chair_i": "objects"}  # figure -> what its values are weighed by
FIGURES: dict[str, tuple[Kind | None, bool | None, str]] = {  # mean over sets -> kind, in domain (None: all), score
    "qa_in_domain": (Kind.QUESTION, True, "nli"),
    "qa_in_domain_exact": (Kind.QUESTION, True, "exact"),
    "qa_out_of_domain": (Kind.QUESTION, False, "nli"),
    "qa_out_of_domain_exact": (Kind.QUESTION, False, "exact"),
    "caption_rouge_l": (Kind.CAPTION, None, "rouge_l"),
    "caption_sts": (Kind.CAPTION, None, "sts"),
    "change_rouge_l": (Kind.CHANGE, None, "rouge_l"),
    "change_sts": (Kind.CHANGE, None, "sts"),
    "reward": (None, None, "reward"),
}
BESIDE: dict[str, tuple[Kind | None, bool | None, str]] = {  # the same, and no ground to choose a model by
    "qa_in_domain_rouge_l": (Kind.QUESTION, True, "rouge_l"),  # Figure 11: people agree with NLI, not with this
    "qa_out_of_domain_rouge_l": (Kind.QUESTION, False, "rouge_l"),
    "caption_cider": (Kind.CAPTION, None, "cider"),
    "caption_chair_s": (Kind.CAPTION, None, "chair_s"),  # the lower the better
    "caption_chair_i": (Kind.CAPTION, None, "chair_i"),
}

Values = dict[tuple[str, Kind], dict[str, dict[str, float]]]  # set and kind -> score -> sample id -> value


def set_of(source: str, split: str) -> str:
    """Name of the set that a sample of this source and split belongs to.

    >>> set_of("elevater_mnist", "test"), set_of("vqav2", "out_of_domain")
    ('elevater', 'vqav2/out_of_domain')
    """
    family = source.partition("_")[0]
    name = family if family in FAMILIES else source
    return f"{name}/{split}" if split == vqa.OUT_OF_DOMAIN else name


def set_of_id(sample_id: str) -> str:
    """The same by a sample's id, ``source/split/official-id``."""
    source, _, rest = sample_id.partition("/")
    return set_of(source, rest.partition("/")[0])


def balanced(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by sample id, weighted so that their mean is the mean over sets."""
    sizes = Counter(map(set_of_id, scores))
    share = len(scores) / max(1, len(sizes))
    return {key: value * (share / sizes[set_of_id(key)]) for key, value in scores.items()}


def kind_of(answer: Rewrite) -> Kind:
    """What an answered sample of a measured task asks."""
    if answer.task.is_vqa:
        return Kind.PAIR if "statement" in answer.extras and len(answer.images) > 1 else Kind.QUESTION
    if answer.task is Task.CHANGE:
        return Kind.CHANGE
    return Kind.QUESTION if vqa.class_names(answer.extras) else Kind.CAPTION


def is_in_domain(name: str, seen_sources: Collection[str]) -> bool:
    """Whether annotations of the set `name` are trained on.

    Args:
        name: A set.
        seen_sources: Names of the sources with role ``annotation``.
    """
    return name in {set_of(source, "") for source in seen_sources}


def by_set(answers: Iterable[Rewrite]) -> Values:
    """The scores of one model's answers, by set."""
    values: Values = {}
    for answer in answers:
        scores = values.setdefault((set_of(answer.source, answer.split), kind_of(answer)), {})
        for name, column in SCORES.items():
            value = answer.scores.get(column)
            if value is not None:
                scores.setdefault(name, {})[answer.id] = float(value)
    return values


def outcomes(answers: Iterable[Rewrite], *, seen_sources: Collection[str]) -> dict[str, dict[str, float]]:
    """What `FIGURES` are made of, all sets together: figure -> sample id -> score of one model's answer.

    Args:
        answers: Scored answers.
        seen_sources: Names of the sources with role ``annotation``.
    """
    values = by_set(answers)
    return {
        name: {key: value for group in _groups(values, what, seen_sources).values() for key, value in group.items()}
        for name, what in FIGURES.items()
    }


def measure(
    answers: Iterable[Rewrite], *, seen_sources: Collection[str], resamples: int, seed: int, purpose: str
) -> dict[str, Figure]:
    """Figures of one model from its scored answers: means over sets, of the reward over all samples.

    Args:
        answers: Scored answers.
        seen_sources: Names of the sources with role ``annotation``; sets of others are out of domain.
        resamples: Bootstrap resamples.
        seed: The run's seed.
        purpose: The model's name.

    Returns:
        `FIGURES` and `BESIDE`; a figure nothing was measured for has n = 0.
    """
    values = by_set(answers)
    figures = {}
    for name, what in {**FIGURES, **BESIDE}.items():
        groups = _groups(values, what, seen_sources)
        if what[0] is None:
            groups = {POOLED: {key: value for group in groups.values() for key, value in group.items()}}
        heavy = _groups(values, (*what[:2], WEIGHTS[what[2]]), seen_sources) if what[2] in WEIGHTS else None
        figures[name] = _mean(groups, heavy, resamples=resamples, seed=seed, purpose=f"{purpose}:{what[2]}")
    return figures


def measure_sets(
    answers: Mapping[str, Sequence[Rewrite]], *, seen_sources: Collection[str], resamples: int, seed: int
) -> dict[str, Any]:
    """A row per set, as in the paper's Tables 1 and 2 and behind Figure 9.

    Args:
        answers: Scored answers by model.
        seen_sources: As in `measure`.
        resamples: Likewise.
        seed: Likewise.

    Returns:
        Set -> ``kind``, ``in_domain``, ``n`` and, as ``models``, the figures of each model that answered it; a set that
        asks for several kinds of answers has a row for each.
    """
    values = {model: by_set(answered) for model, answered in answers.items()}
    asked = sorted({key for own in values.values() for key in own})
    kinds = Counter(name for name, _ in asked)
    rows: dict[str, Any] = {}
    for name, kind in asked:
        scores = {model: own[name, kind] for model, own in values.items() if (name, kind) in own}
        rows[name if kinds[name] == 1 else f"{name} ({kind})"] = {
            "kind": str(kind),
            "in_domain": is_in_domain(name, seen_sources),
            "n": max(len(numbers) for own in scores.values() for numbers in own.values()),
            "models": {
                model: {
                    score: _mean(
                        {name: numbers},
                        {name: own[WEIGHTS[score]]} if score in WEIGHTS else None,
                        resamples=resamples,
                        seed=seed,
                        purpose=f"{model}:{score}",
                    )
                    for score, numbers in own.items()
                }
                for model, own in scores.items()
            },
        }
    return dict(sorted(rows.items(), key=lambda item: (item[1]["kind"], not item[1]["in_domain"], item[0])))


def _mean(
    groups: Mapping[str, Mapping[str, float]],
    heavy: Mapping[str, Mapping[str, float]] | None,
    *,
    resamples: int,
    seed: int,
    purpose: str,
) -> Figure:
    """Mean over sets of scores by sample id, weighed within each by those of `heavy`."""
    weights = None if heavy is None else {name: [heavy[name][key] for key in own] for name, own in groups.items()}
    means = {name: list(own.values()) for name, own in groups.items()}
    return mean_over_sets(means, weights=weights, resamples=resamples, seed=seed, purpose=purpose).to_json()


def _groups(
    values: Values, what: tuple[Kind | None, bool | None, str], seen_sources: Collection[str]
) -> dict[str, dict[str, float]]:
    """The scores of one figure, by set."""
    kind, in_domain, score = what
    return {
        name if kind is its else f"{name} ({its})": scores[score]
        for (name, its), scores in values.items()
        if score in scores and kind in (None, its) and in_domain in (None, is_in_domain(name, seen_sources))
    }
