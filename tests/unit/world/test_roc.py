"""ROC curves of the filters' scores."""

from __future__ import annotations

from polite_flamingo.records import Rewrite, Task
from polite_flamingo.world.roc import POINTS, ScoreCurves


def _caption(cosine: float | None, task: Task = Task.CAPTION) -> Rewrite:
    return Rewrite("a", "coco", "train", "-", task, "?", (), "raw", "text", "stop", {}, {"sts": cosine})


def test_a_curve_goes_from_none_taken_to_all_and_ties_are_taken_together() -> None:
    curves = ScoreCurves()
    for cosine, corrupted in ((0.1, True), (0.2, True), (0.2, False), (0.9, False), (None, True)):
        curves.add(_caption(cosine), corrupted)
    name = "STS (captions)"
    assert list(curves.rows()) == [(name, 0.0, 0.0), (name, 0.0, 0.5), (name, 0.5, 1.0), (name, 1.0, 1.0)]


def test_a_score_that_saw_no_corrupted_record_has_no_curve() -> None:
    curves = ScoreCurves()
    curves.add(_caption(0.5, Task.CHANGE), False)
    assert list(curves.rows()) == []


def test_a_long_curve_is_thinned_but_keeps_its_ends() -> None:
    curves = ScoreCurves()
    for number in range(1000):
        curves.add(_caption(number / 1000), number % 2 == 0)
    rows = list(curves.rows())
    assert len(rows) <= POINTS + 1
    assert (rows[0][1:], rows[-1][1:]) == ((0.0, 0.0), (1.0, 1.0))
