"""Figures of an evaluation: a table per set, means over sets, differences between models, politeness, the tax."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polite_flamingo.benchmarks.evaluation import AnswerColumns, Evaluation
from polite_flamingo.benchmarks.intervals import (
    DrawnFigure,
    Ratio,
    clusters_of,
    difference,
    draw_figures,
    holm,
    mean_of,
)
from polite_flamingo.benchmarks.items import QuestionSet, canonical
from polite_flamingo.benchmarks.strengths import compare

ALL = "mean over sets"
COMPARED = (
    "official",
    "nli",
    "rouge_l",
    "sts",
    "cider",
    "chair_s",
    "chair_i",
    "reward",
)  # differences are tested of these
LOWER_IS_BETTER = frozenset({"chair_s", "chair_i"})
UNDERSTANDING = ("nli", "official", "sts", "rouge_l")  # the first that a kind of set has
MOST_GROUPS = 100  # parts of a set that are told
Columns = Mapping[str, Any]
Figures = dict[tuple[str, str], DrawnFigure]  # model and name -> figure

DEFINITIONS = {
    "official": "the set's own: VQA accuracy, accuracy of choices, of yes and no, relaxed accuracy, exact match "
    "or MM-Vet's grades",
    "choice_or_text": "ours: a choice also counts when it is told by its text or by a letter in brackets",
    "direct_answer_accuracy": "A-OKVQA: share of three annotators who gave this direct answer, at most 1",
    "contained": "contrast: the annotated answer stands among the words of the answer (LVLM-eHub)",
    "precision": "POPE: share of yes that are right", "recall": "POPE: share of objects that are there and told",
    "f1": "POPE: harmonic mean of precision and recall", "yes": "POPE: share of answers that say yes",
    "nli": "the paper's accuracy: share of answers that entail the annotated one by the NLI judge",
    "rouge_l": "Rouge-L (F, Porter stemmer) with the closest annotated text; of questions a contrast (Figure 11)",
    "sts": "cosine of sentence embeddings with the closest annotated text",
    "cider": "CIDEr-D, 0 to 10; papers give 100 times as much", "chair_s": "share of captions with an invented object",
    "chair_i": "share of invented ones among the objects named", "objects": "objects named in a caption",
    "reward": "mean score of the reward model, no unit", "words": "mean length in words",
    "sentences": "share that begins with a capital and ends with a sentence's mark",
    "unchanged": "share that repeats an annotated answer word for word",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RatioRecipe:
    """A figure from columns of answers: the sum of one over the sum of another."""

    numerator: Callable[[Columns], Any]
    denominator: Callable[[Columns], Any]
    needs: tuple[str, ...]


def _mean(column: str) -> RatioRecipe:
    return RatioRecipe(lambda c: c[column], lambda c: (~np.isnan(c[column])).astype(float), (column,))


RECIPES = {
    "official": _mean("right"),
    "choice_or_text": _mean("right_text"),
    "direct_answer_accuracy": _mean("right_direct"),
    "precision": RatioRecipe(lambda c: c["true_yes"], lambda c: c["yes"], ("true_yes",)),
    "recall": RatioRecipe(lambda c: c["true_yes"], lambda c: c["truth_yes"], ("true_yes",)),
    "f1": RatioRecipe(lambda c: 2 * c["true_yes"], lambda c: c["yes"] + c["truth_yes"], ("true_yes",)),
    "chair_i": RatioRecipe(lambda c: c["invented"], lambda c: c["objects"], ("invented",)),
    **{
        name: _mean(name)
        for name in (
            "yes", "contained", "nli", "rouge_l", "sts", "cider", "chair_s", "objects", "reward", "words", "sentences",
            "unchanged",
        )
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draws:
    """How intervals are drawn."""

    resamples: int = 1000
    seed: int = 0


def report(done: Evaluation, draws: Draws) -> dict[str, Any]:
    """Everything that is told of an evaluation, as JSON.

    Args:
        done: The columns.
        draws: Resamples and seed.
    """
    drawn: dict[str, Figures] = {}
    sets: dict[str, Any] = {}
    for own in done.sets:
        answered = done.answered.get(own.name)
        if answered:
            drawn[own.name], sets[own.name] = _set_report(own, answered, done.models, draws)
    means = _means(done.models, drawn)
    differences = _differences(done, drawn, draws)
    return {
        "files": [{"model": model, "file": name, **counts.to_json()} for model, name, counts in done.counts],
        "models": {model: {k: d.to_json() for (m, k), d in means.items() if m == model} for model in done.models},
        "sets": sets,
        "differences": differences,
        "politeness": politeness(done, draws),
        "tax": _tax(done, drawn),
        "definitions": DEFINITIONS,
        "intervals": {
            "level": 0.95,
            "resamples": draws.resamples,
            "seed": draws.seed,
            "clusters": "images, with all their questions; seeds of a model are drawn as a second level",
            "differences": "paired: both models on the same resamples of the questions that both answered",
            "correction": "Holm's, over all differences of the report together",
        },
    }


def _measured(
    own: QuestionSet, answered: Sequence[AnswerColumns], draws: Draws, mask: Any = None
) -> tuple[Figures, dict[str, Figures]]:
    """Figures of a set and of its groups; where its published figure is a mean over the groups, so are the set's."""
    clusters = clusters_of([canonical(item.image) if item.image else "" for item in own.items])

    def drawn(chosen: Any) -> Figures:
        ratios = _ratios(answered, chosen)
        return draw_figures(ratios, clusters, resamples=draws.resamples, seed=draws.seed, purpose=own.name)

    figures = drawn(mask)
    names = sorted({name for item in own.items for name in item.groups})
    groups: dict[str, Figures] = {}
    if 1 < len(names) <= MOST_GROUPS:
        for name in names:
            its = np.array([name in item.groups for item in own.items])
            groups[name] = drawn(its if mask is None else its & mask)
        if own.by_group:
            figures = {key: mean_of([its[key] for its in groups.values() if key in its]) for key in figures}
    return figures, groups


def _set_report(
    own: QuestionSet, answered: Sequence[AnswerColumns], models: Sequence[str], draws: Draws
) -> tuple[Figures, dict[str, Any]]:
    figures, groups = _measured(own, answered, draws)
    told = {
        "metric": str(own.metric),
        "kind": str(own.kind),
        "n": len(own.items),
        "images": len({canonical(item.image) for item in own.items}) if own.items[0].image else len(own.items),
        "mean_over_groups": own.by_group and bool(groups),
        "notes": own.notes,
        "seeds": {m: sum(one.model == m for one in answered) for m in models if any(o.model == m for o in answered)},
        "models": _by_model(figures, models),
        "groups": {name: _by_model(its, models) for name, its in groups.items()},
    }
    if own.seen:
        told["contamination"] = _contamination(own, answered, models, draws)
    return figures, told


def _contamination(
    own: QuestionSet, answered: Sequence[AnswerColumns], models: Sequence[str], draws: Draws
) -> dict[str, Any]:
    """The main figures of questions seen in training beside those of the others."""
    seen = np.any(list(own.seen.values()), axis=0)
    parts = {
        name: _by_model(_measured(own, answered, draws, mask)[0], models)
        for name, mask in (("seen", seen), ("not seen", ~seen))
    }
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    return {
        "n": len(own.items),
        "seen": int(seen.sum()),
        "ways": {way: int(found.sum()) for way, found in own.seen.items()},
        "models": {
            model: {
                name: {part: parts[part].get(model, {}).get(name, nothing) for part in parts}
                for name in COMPARED
                if any(name in parts[part].get(model, {}) for part in parts)
            }
            for model in models
        },
    }


def _by_model(figures: Figures, models: Iterable[str]) -> dict[str, Any]:
    return {
        model: its
        for model in models
        if (its := {name: one.to_json() for (who, name), one in figures.items() if who == model and one.n})
    }


def _ratios(answered: Sequence[AnswerColumns], mask: Any) -> dict[tuple[str, str], list[Ratio]]:
    ratios: dict[tuple[str, str], list[Ratio]] = {}
    for one in answered:
        for name, recipe in RECIPES.items():
            if all(column in one.columns for column in recipe.needs):
                top = np.asarray(recipe.numerator(one.columns), dtype=np.float64)
                below = np.asarray(recipe.denominator(one.columns), dtype=np.float64)
                if mask is not None:
                    top, below = np.where(mask, top, np.nan), np.where(mask, below, 0.0)
                ratios.setdefault((one.model, name), []).append(Ratio(top, below))
    return ratios


def _means(models: Iterable[str], drawn: Mapping[str, Figures]) -> Figures:
    """Mean of a figure over all sets that have it, of each model."""
    means = {}
    for model, name in itertools.product(models, RECIPES):
        its = [figures[model, name] for figures in drawn.values() if (model, name) in figures]
        its = [one for one in its if not np.isnan(one.value)]
        if its:
            means[model, name] = mean_of(its)
    return means


def _differences(done: Evaluation, drawn: Mapping[str, Figures], draws: Draws) -> list[dict[str, Any]]:
    """Every pair of models on every set and in the mean, on questions that both answered; p values corrected."""
    rows: list[dict[str, Any]] = []
    for pair in itertools.combinations(done.models, 2):
        both: dict[str, Figures] = {}
        for own in done.sets:
            answered = [one for one in done.answered.get(own.name, []) if one.model in pair]
            if {one.model for one in answered} == set(pair):
                both[own.name] = _on_shared(own, answered, drawn[own.name], draws)
        if len(both) > 1:
            both[ALL] = _means(pair, both)
        for (name, figures), figure in itertools.product(both.items(), COMPARED):
            ours, theirs = (figures.get((model, figure)) for model in pair)
            if ours is None or theirs is None or np.isnan(ours.value) or np.isnan(theirs.value):
                continue
            told = {"set": name, "figure": figure, "first": pair[0], "second": pair[1], "n": min(ours.n, theirs.n)}
            rows.append({**told, **difference(ours, theirs)})
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"], row["p_holm"] = float(f"{row['p']:.4g}"), float(f"{corrected:.4g}")
    return rows


def _on_shared(own: QuestionSet, answered: Sequence[AnswerColumns], figures: Figures, draws: Draws) -> Figures:
    """Figures of two models on the questions that all their files answered."""
    there = np.stack([~np.isnan(one.columns["words" if "words" in one.columns else "right"]) for one in answered])
    if own.missing_is_wrong or (there == there[0]).all():
        return figures
    return _measured(own, answered, draws, there.all(axis=0))[0]


def politeness(done: Evaluation, draws: Draws) -> dict[str, Any]:
    """Win rates and strengths over all sets together, on questions that all models answered; empty without rewards."""
    models = [
        model
        for model in done.models
        if any(one.model == model and "reward" in one.columns for its in done.answered.values() for one in its)
    ]
    if len(models) < 2:
        return {}
    rewards: dict[str, list[Any]] = {model: [] for model in models}
    names: list[str] = []
    for own in done.sets:
        names += [f"{own.name}:{canonical(item.image) if item.image else i}" for i, item in enumerate(own.items)]
        for model in models:
            its = [one.columns.get("reward") for one in done.answered.get(own.name, []) if one.model == model]
            there = [column for column in its if column is not None]
            nothing = np.full(len(own.items), np.nan)
            rewards[model].append(np.mean(there, axis=0, dtype=np.float64) if there else nothing)
    joined = {model: np.concatenate(parts) for model, parts in rewards.items()}
    return compare(joined, clusters_of(names), resamples=draws.resamples, seed=draws.seed, purpose="politeness")


def _tax(done: Evaluation, drawn: Mapping[str, Figures]) -> dict[str, Any]:
    """Understanding (the first of `UNDERSTANDING` that a set has, mean over sets) and politeness of each model."""
    points: dict[str, Any] = {}
    chosen = {
        own.name: next(
            (f for f in UNDERSTANDING if all((m, f) in drawn[own.name] for m in _who(drawn[own.name]))), None
        )
        for own in done.sets
        if own.name in drawn
    }
    for model in done.models:
        its = [
            drawn[name][model, figure] for name, figure in chosen.items() if figure and (model, figure) in drawn[name]
        ]
        polite = [figures[model, "reward"] for figures in drawn.values() if (model, "reward") in figures]
        if its and polite:
            points[model] = {"understanding": mean_of(its).to_json(), "politeness": mean_of(polite).to_json()}
    return {"points": points, "understanding": {name: figure for name, figure in chosen.items() if figure}}


def _who(figures: Figures) -> set[str]:
    return {model for model, _ in figures}
