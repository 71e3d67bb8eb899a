"""Small valid file sets of every reader."""

from __future__ import annotations

from tests.unit.sources.file_sets import captions, changes, classes, evaluation, instructions, own, questions
from tests.unit.sources.file_sets.form import Case

FAMILIES = (captions, classes, changes, questions, instructions, evaluation, own)
CASES: list[Case] = [case for family in FAMILIES for case in family.CASES]
