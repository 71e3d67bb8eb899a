"""What people are asked about an answer: the paper's four labels, or three questions about a rewrite.

A form has criteria, each with its options in the order of the keys 1, 2, 3 … The wording of the options is what the
page shows; the guidelines are shown as they are written and may be replaced for a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from polite_flamingo.errors import DataError, did_you_mean

MATCHED, CORRECT, FAILED, UNCERTAIN = LABELS = ("matched", "correct", "failed", "uncertain")
YES, NO, UNSURE = ("yes", "no", "unsure")
LABEL = "label"
RIGHT, POLITE, GROUNDED = REWRITE_CRITERIA = ("right", "polite", "grounded")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question about an answer.

    Args:
        name: As it stands in the data.
        question: As people read it.
        options: Name of an option -> its wording, in the order of the keys.
    """

    name: str
    question: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StudyForm:
    """Everything that is asked about a sample.

    Args:
        name: As it stands in the data.
        criteria: Questions about each answer.
    """

    name: str
    criteria: tuple[Criterion, ...]

    def guidelines(self) -> str:
        """What annotators read before they begin."""
        return files(__package__).joinpath("page", f"{self.name}.txt").read_text(encoding="utf-8").strip()

    def options(self, criterion: str) -> tuple[str, ...]:
        """Names of a criterion's options; none of an unknown criterion."""
        return next((tuple(one.options) for one in self.criteria if one.name == criterion), ())

    def to_json(self) -> list[dict[str, Any]]:
        """The criteria as the page gets them."""
        return [
            {"name": one.name, "question": one.question, "options": [list(pair) for pair in one.options.items()]}
            for one in self.criteria
        ]


ANSWERS = StudyForm(
    "answers",
    (
        Criterion(
            LABEL,
            "How does the answer relate to the truth?",
            {
                MATCHED: "Matched",
                CORRECT: "Correct",
                FAILED: "Failed",
                UNCERTAIN: "Uncertain",
            },
        ),
    ),
)
REWRITES = StudyForm(
    "rewrites",
    (
        Criterion(RIGHT, "Right: does it say what the annotation says?", {YES: "Yes", NO: "No", UNSURE: "Cannot tell"}),
        Criterion(
            POLITE, "Polite: a complete, well-formed, kind answer?", {YES: "Yes", NO: "No", UNSURE: "Cannot tell"}
        ),
        Criterion(
            GROUNDED, "Grounded: is all of it to be seen or known?", {YES: "Yes", NO: "No", UNSURE: "Cannot tell"}
        ),
    ),
)
FORMS = {form.name: form for form in (ANSWERS, REWRITES)}


def form_of(name: str) -> StudyForm:
    """The form of that name.

    Raises:
        DataError: there is none.
    """
    if name not in FORMS:
        raise DataError("unknown form of a study", value=name, next_step=did_you_mean(name, FORMS))
    return FORMS[name]
