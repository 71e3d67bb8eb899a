"""Two generations of the rewriter on the same drafts: figures of each, and their paired difference (section 5.4).

Two kinds of drafts. *Held-out pairs*: distorted responses, compared with the originals. *Annotations*: raw answers,
compared with themselves, as in the filters. The figures are those of the scorers (Table 3's columns as far as they are
known to us, docs/paper_index.md), each with its interval; the difference is paired, draft by draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

from polite_flamingo.evaluate.bootstrap import bootstrap_mean
from polite_flamingo.records import Generated, Rewrite, RewritePair, Sample
from polite_flamingo.scorers.load import SCORERS
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.rouge import rouge_l, rouge_score

ANNOTATED = "annotation"  # strategy of a draft that nothing distorted
ANNOTATIONS = 150  # most annotations that are rewritten for the figures

TABLE_3 = ("unchanged", "reward", "clip_logit")  # the paper: of A-OKVQA and, CLIPScore, of CC-3M

Figures = dict[str, list[float | None]]  # every figure of every draft, in their order; None where it does not apply

DEFINITIONS = {
    "rouge_l": "Rouge-L (F, Porter stemmer) of the revised response with the original, or with the annotation",
    "rouge_l_gain": "the same minus Rouge-L of the draft with the original; of held-out pairs",
    "sts": "cosine of sentence embeddings with the original, or with the annotation",
    "entailed": "share that entails the original, or the annotation, by the NLI judge; of questions",
    "contradicted": "share that contradicts it; of questions",
    "clip_logit": "100 x cosine with the image, mean of the paragraphs; of captions",
    "reward": "mean score of the reward model, no unit",
    "unchanged": "share that repeats the draft, or the annotation, word for word",
    "words": "mean number of words",
}


def annotation_drafts(samples: Iterable[Sample], seed: int) -> list[RewritePair]:
    """Raw annotations as drafts, at most `ANNOTATIONS`, drawn with the seed, in order of id."""
    ordered = sorted(samples, key=lambda sample: sample.id)
    if len(ordered) > ANNOTATIONS:
        ordered = sorted(Random(f"{seed}:annotations").sample(ordered, ANNOTATIONS), key=lambda sample: sample.id)
    drafts = []
    for sample in ordered:
        record = sample.to_rewrite(sample.response)
        drafts.append(
            RewritePair(
                *(sample.id, sample.id, sample.source, sample.split, sample.task, record.instruction, record.images),
                drafted=sample.response,
                revised=sample.response,
                strategy=ANNOTATED,
                command="",
                seed=seed,
            )
        )
    return drafts


def draft_figures(drafts: Sequence[RewritePair], answers: Sequence[Generated], scorers: Mapping[str, Any]) -> Figures:
    """The figures of one generation.

    Args:
        drafts: What it revised.
        answers: What it made of each.
        scorers: Loaded models by name, of `SCORERS`; the figures of absent ones are None.
    """
    rewrites = [
        Rewrite(
            *(pair.id, pair.source, pair.split, "", pair.task, pair.instruction, pair.images, pair.revised),
            answer.text,
            answer.finish_reason,
        )
        for pair, answer in zip(drafts, answers, strict=True)
    ]
    nothing: list[Any] = [None] * len(rewrites)
    scores: dict[str, list[Any]] = {n: scorers[n].score(rewrites) if n in scorers else nothing for n in SCORERS}
    labels = [None if logits is None else nli_label(logits) for logits in scores["nli"]]
    after = [rouge_score(rewrite) for rewrite in rewrites]
    before = [None if p.strategy == ANNOTATED else rouge_l(p.drafted, p.revised) for p in drafts]
    return {
        "rouge_l": [*after],
        "rouge_l_gain": [None if b is None else a - b for a, b in zip(after, before, strict=True)],
        "sts": scores["sts"],
        "entailed": [None if label is None else float(label == "entailment") for label in labels],
        "contradicted": [None if label is None else float(label == "contradiction") for label in labels],
        "clip_logit": [fmean(logits) if logits else None for logits in scores["clip"]],
        "reward": scores["reward"],
        "unchanged": [float(r.rewritten.strip() == p.drafted.strip()) for r, p in zip(rewrites, drafts, strict=True)],
        "words": [float(len(r.rewritten.split())) for r in rewrites],
    }


def by_source(drafts: Sequence[RewritePair], figures: Mapping[str, Figures]) -> dict[str, dict[str, dict[str, Any]]]:
    """Table 3's columns of each source: source -> generation -> mean of `TABLE_3`; None where nothing was scored.

    Args:
        drafts: What was revised.
        figures: Generation -> figures of these drafts.
    """
    sources = [draft.source for draft in drafts]

    def means(source: str, own: Figures) -> dict[str, Any]:
        of = {n: [v for s, v in zip(sources, own[n], strict=True) if s == source and v is not None] for n in TABLE_3}
        return {name: round(fmean(values), 4) if values else None for name, values in of.items()}

    return {source: {name: means(source, own) for name, own in figures.items()} for source in sorted(set(sources))}


def compare(first: Figures, second: Figures, *, resamples: int, seed: int, kind: str) -> dict[str, Any]:
    """Mean and interval of each figure of both generations, and of the paired difference second minus first.

    Args:
        first: Of the first generation.
        second: Of the second, about the same drafts.
        resamples: Bootstrap resamples.
        seed: The run's seed.
        kind: Name of the drafts, so that each has resamples of its own.
    """
    compared: dict[str, Any] = {"first": {}, "second": {}, "difference": {}}
    for name in DEFINITIONS:
        both = [(a, b) for a, b in zip(first[name], second[name], strict=True) if a is not None and b is not None]
        values = {
            "first": [a for a, _ in both],
            "second": [b for _, b in both],
            "difference": [b - a for a, b in both],
        }
        for generation, numbers in values.items():
            interval = bootstrap_mean(numbers, resamples=resamples, seed=seed, purpose=f"{kind}:{generation}:{name}")
            compared[generation][name] = interval.to_json()
    return compared
