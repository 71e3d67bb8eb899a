"""Visual question answering (section 5, readme "Automated Evaluators"): is the annotated answer entailed?

A natural language inference model reads ``"<model's answer>" is the answer to the question: "<question>"`` as premise
and the same sentence about the annotated answer as hypothesis; "entailment" as the most likely label is a success.
Where a rendered world knows the truth, the answer is also judged by that (`world.truth`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from polite_flamingo.records import Rewrite, Turn
from polite_flamingo.scorers.nli import nli_label

OUT_OF_DOMAIN = "out_of_domain"


def is_entailed(logits: Sequence[float]) -> bool:
    """True when entailment has the highest of the three logits."""
    return nli_label(logits) == "entailment"


def is_out_of_domain(sample: Rewrite, seen_sources: Collection[str]) -> bool:
    """True for a split named ``out_of_domain`` and for a source that no annotation of the training data came from.

    Args:
        sample: An answered evaluation sample.
        seen_sources: Names of the sources with role ``annotation``.
    """
    return sample.split == OUT_OF_DOMAIN or sample.source not in seen_sources


def blind(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The same turns without their images: what a model answers from the words alone."""
    return tuple(Turn(turn.role, turn.text) for turn in turns)
