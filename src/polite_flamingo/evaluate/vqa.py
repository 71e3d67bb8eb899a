"""Visual question answering (section 5, readme "Automated Evaluators"): is the annotated answer entailed?

A natural language inference model reads ``"<model's answer>" is the answer to the question: "<question>"`` as premise
and the same sentence about the annotated answer as hypothesis; "entailment" as the most likely label is a success.
Where a rendered world knows the truth, the answer is also judged by that (`world.truth`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.records import Rewrite, Turn
from polite_flamingo.scorers.nli import nli_label

OUT_OF_DOMAIN = "out_of_domain"


def is_entailed(logits: Sequence[float]) -> bool:
    """True when entailment has the highest of the three logits."""
    return nli_label(logits) == "entailment"


def annotated(answer: Rewrite) -> str:
    """The annotated answer that a model's is compared with: without rationale or knowledge about the class.

    A-OKVQA, VQA-E and ScienceQA annotate a short answer and its reasons, ELEVATER a class and what is known of it.
    """
    short = answer.extras.get("short_answer")
    return str(short) if short else " and ".join(class_names(answer.extras)) or answer.raw_answer


def class_names(extras: Mapping[str, Any]) -> list[str]:
    """Names of the classes of a classified image; [] of anything else."""
    return [str(name) for name in extras.get("labels") or ()]


def blind(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The same turns without their images: what a model answers from the words alone."""
    return tuple(Turn(turn.role, turn.text) for turn in turns)
