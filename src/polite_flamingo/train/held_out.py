"""What a rewriter gains on held-out pairs (section 3.3): Rouge-L with the original, of a draft and of its revision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from statistics import fmean
from typing import Any

from polite_flamingo.io.text import Row
from polite_flamingo.records import Generated, RewritePair
from polite_flamingo.scorers.rouge import rouge_l

HELD_OUT_PAIRS = 150  # most held-out pairs that are revised for the figures
Score = tuple[str, float, float]  # strategy, Rouge-L of the drafted and of the revised response with the original


def draw_held_out(pairs: Sequence[RewritePair], seed: int) -> list[RewritePair]:
    """At most `HELD_OUT_PAIRS` pairs, drawn with `seed`, in order of id."""
    ordered = sorted(pairs, key=lambda pair: pair.id)
    if len(ordered) > HELD_OUT_PAIRS:
        ordered = Random(f"{seed}:held_out_pairs").sample(ordered, HELD_OUT_PAIRS)
    return sorted(ordered, key=lambda pair: pair.id)


def outcomes(pairs: Sequence[RewritePair], revised: Sequence[Generated]) -> list[Row]:
    """Each pair's row with the rewriter's ``answer`` to it and Rouge-L of draft and answer with the original."""
    return [
        {
            **pair.to_row(),
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "rouge_l_drafted": rouge_l(pair.drafted, pair.revised),
            "rouge_l_revised": rouge_l(answer.text, pair.revised),
        }
        for pair, answer in zip(pairs, revised, strict=True)
    ]


def gains(pairs: Sequence[RewritePair], revised: Sequence[Generated]) -> dict[str, Any]:
    """Figures of a rewriter's answers to `pairs`, over all and ``per_strategy`` of the distortions.

    ``rouge_l_gain`` is Rouge-L of the revised response with the original minus Rouge-L of the drafted one.
    """
    rows = outcomes(pairs, revised)
    scores = [(row["strategy"], row["rouge_l_drafted"], row["rouge_l_revised"]) for row in rows]
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        groups[score[0]].append(score)
    per_strategy = {name: {**_figures(group), "pairs": len(group)} for name, group in sorted(groups.items())}
    cut_off = sum(answer.finish_reason == "length" for answer in revised)
    return {**_figures(scores), "per_strategy": per_strategy, "held_out_pairs": len(pairs), "cut_off": cut_off}


def _figures(scores: Sequence[Score]) -> dict[str, float]:
    drafted, revised = fmean(s[1] for s in scores), fmean(s[2] for s in scores)
    return {
        "rouge_l_drafted": round(drafted, 4),
        "rouge_l_revised": round(revised, 4),
        "rouge_l_gain": round(revised - drafted, 4),
    }
