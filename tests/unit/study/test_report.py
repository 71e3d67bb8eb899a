"""What people said: agreement of simulated annotators, Figure 11, judges beside people, the gate."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from nltk.metrics.agreement import AnnotationTask
from sklearn.metrics import cohen_kappa_score
from tests.unit.study.studies import judge_all, label, pool, rank, study

from polite_flamingo.errors import DataError
from polite_flamingo.study import report
from polite_flamingo.study.agreement import cohen_kappas, krippendorff_alpha
from polite_flamingo.study.forms import LABELS, REWRITES
from polite_flamingo.study.results import wilson
from polite_flamingo.study.store import StudyFile

DRAWS = {"resamples": 200, "seed": 3}
TRUTH = dict(zip(LABELS, (0.4, 0.15, 0.4, 0.05), strict=True))
ERRORS = (0.1, 0.2)  # of two annotators: another label, drawn evenly


def _simulated(rng: Random, count: int) -> list[list[str]]:
    truth = rng.choices(list(TRUTH), list(TRUTH.values()), k=count)
    return [
        [rng.choice([one for one in LABELS if one != right]) if rng.random() < error else right for right in truth]
        for error in ERRORS
    ]


def _known_kappa() -> float:
    """Cohen's kappa that these error rates have in the long run."""
    confusions = []
    for error in ERRORS:
        confusion = np.full((4, 4), error / 3)
        np.fill_diagonal(confusion, 1 - error)
        confusions.append(confusion)
    joint = confusions[0].T @ np.diag(list(TRUTH.values())) @ confusions[1]
    chance = joint.sum(axis=1) @ joint.sum(axis=0)
    return float((np.trace(joint) - chance) / (1 - chance))


def test_a_simulated_study_of_600_samples_returns_its_known_agreement_within_the_interval(tmp_path: Path) -> None:
    own = study(tmp_path, 600, own=pool(600, ("one", "two")))
    for name, labels in zip(("Anna", "Ben"), _simulated(Random(5), 1200), strict=True):
        judge_all(own, name, labels)
    measured, _ = report.measure(own, **DRAWS)
    kappa = measured["agreement"]["label"]["kappa"]["Anna and Ben"]
    alpha = measured["agreement"]["label"]["alpha"]
    known = _known_kappa()
    assert kappa["n"] == 1200
    assert kappa["low"] < known < kappa["high"] and kappa["high"] - kappa["low"] < 0.1
    assert alpha["low"] < known < alpha["high"]  # nearly the same for two with nearly the same margins
    assert measured["progress"]["judged"] == 600


def test_intervals_are_those_of_the_libraries_coefficients() -> None:
    one, two = _simulated(Random(2), 80)
    ratings = {(str(n // 2), n % 2): {"a": one[n], "b": two[n]} for n in range(80)}
    del ratings["0", 0]["b"], ratings["7", 1]["a"]
    both = {unit: own for unit, own in ratings.items() if len(own) == 2}
    rng = np.random.default_rng(0)
    samples = sorted({unit[0] for unit in both})
    alphas, kappas = [], []
    for _ in range(60):
        drawn = [
            (k, own) for k, s in enumerate(rng.choice(samples, len(samples))) for u, own in both.items() if u[0] == s
        ]
        triples = [(who, f"{k}:{i}", x) for i, (k, own) in enumerate(drawn) for who, x in own.items()]
        alphas.append(AnnotationTask(triples).alpha())
        kappas.append(cohen_kappa_score([own["a"] for _, own in drawn], [own["b"] for _, own in drawn]))
    alpha, kappa = krippendorff_alpha(ratings, resamples=2000, seed=1), cohen_kappas(ratings, resamples=2000, seed=1)
    for mine, theirs in ((alpha, alphas), (kappa["a", "b"], kappas)):
        assert mine.low == pytest.approx(np.quantile(theirs, 0.025), abs=0.06)
        assert mine.high == pytest.approx(np.quantile(theirs, 0.975), abs=0.06)


def test_agreement_of_equal_labels_is_undefined_and_of_one_annotator_nothing() -> None:
    assert krippendorff_alpha({("i", 0): {"a": "x", "b": "x"}}, **DRAWS).value is None
    assert krippendorff_alpha({("i", 0): {"a": "x"}}, **DRAWS).n == 0
    assert cohen_kappas({("i", 0): {"a": "x"}}, **DRAWS) == {}


def test_figure_11_counts_agreed_labels_and_shares_of_those_that_differ(tmp_path: Path) -> None:
    own = study(tmp_path, 2, own=pool(2, ("one",), entailed=1.0, rouge_l=0.5))
    first, second = own.items()
    own.add_all([label(first.id, name, 0, "matched") for name in ("Anna", "Ben")])
    own.add_all([label(second.id, "Anna", 0, "matched"), label(second.id, "Ben", 0, "failed")])
    measured, _ = report.measure(own, **DRAWS)
    model = measured["models"]["one"]
    assert (model["matched"]["value"], model["failed"]["value"], model["rouge_l"]["value"]) == (0.75, 0.25, 0.5)
    assert measured["nli"]["matched"]["precision"]["value"] == 0.75
    assert measured["nli"]["matched"]["recall"]["value"] == 1.0
    assert measured["undecided"] == {"differ": 1, "unlabelled": 0}


def test_reward_beside_people_leaves_their_ties_out(tmp_path: Path) -> None:
    own = study(tmp_path, 1, own=pool(1, ("one", "two", "three")))
    item = own.items()[0]
    rewards = {slot: float(slot) for slot in range(3)}  # the last answer has the highest
    own._db.executemany(
        "UPDATE answer SET scores = ? WHERE slot = ?",
        [(f'{{"reward": {value}}}', slot) for slot, value in rewards.items()],
    )
    own.add_all([label(item.id, "Anna", 0, "matched"), rank(item.id, "Anna", "[[2, 1], [0]]")])
    own.add_all([rank(item.id, "Ben", "[[0], [1], [2]]")])
    reward = report.measure(own, **DRAWS)[0]["reward"]
    assert (reward["pairs"], reward["ties_left_out"], reward["accuracy"]["value"]) == (5, 1, 0.4)


def test_the_report_is_written_as_json_markdown_and_plot(tmp_path: Path) -> None:
    own = study(tmp_path, 3, own=pool(3, entailed=True))
    for name in ("Anna", "Ben"):
        judge_all(own, name, ["matched", "failed", "correct"] * 3)
    measured, results = report.measure(own, **DRAWS)
    files = report.write(own, measured, results, tmp_path / "out", None)
    assert [file.name for file in files] == ["study.json", "study.md", "study.png", "disagreements.html"]
    page = files[3].read_text()
    assert page.count("data:image/jpeg") == page.count("judge: entailed") == 6
    assert page.index("people: failed") < page.index("people: correct")
    assert "&lt;b&gt;" in page and "<b>" not in page
    text = files[1].read_text()
    assert "3 of 3 samples are judged" in text and "| three | 3 |" in text
    assert report.metrics(measured)["one.matched"] == pytest.approx(measured["models"]["one"]["matched"]["value"])


def _release(folder: Path, wrong: int) -> tuple[dict, report.StudyResults]:
    own = study(folder, 60, form=REWRITES, own=pool(60, ("rewrite",), stratum="kept vqa low", cut=0))
    for number, item in enumerate(own.items()):
        for name in ("Anna", "Ben"):
            own.add_all(
                label(item.id, name, 0, "no" if criterion == "right" and number < wrong else "yes", criterion=criterion)
                for criterion in ("right", "polite", "grounded")
            )
    return report.measure(own, **DRAWS)


def test_the_gate_holds_where_the_lower_end_is_high_enough(tmp_path: Path) -> None:
    measured, results = _release(tmp_path, wrong=2)
    figure = measured["rewrites"]["kept"]["right_and_grounded"]
    assert figure["value"] == pytest.approx(58 / 60) and 0.85 < figure["low"] < 0.92
    assert report.gate(measured, 0.85) and not report.gate(measured, 0.95)
    assert report.for_the_card(measured)["gate"] == {"least": 0.95, "low": figure["low"], "held": False}
    report.write(StudyFile(tmp_path / "study.sqlite"), measured, results, tmp_path / "out", tmp_path / "labels.csv")
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "id,label" and len(lines) == 61 and sum(line.endswith(",corrupted") for line in lines) == 2


def test_sixty_right_ones_of_sixty_are_not_taken_for_certain() -> None:
    assert wilson([(1.0, 2.0)] * 60).low == pytest.approx(0.9398, abs=1e-3)
    assert wilson([(1.0, 100.0)] + [(1.0, 1.0)] * 59).low < 0.5  # nearly all rests on one


def test_a_study_without_a_label_has_no_report_and_one_of_answers_no_gate(tmp_path: Path) -> None:
    own = study(tmp_path, 2)
    with pytest.raises(DataError, match="nobody has judged"):
        report.measure(own, **DRAWS)
    judge_all(own, "Anna", ["matched"] * 6)
    measured, results = report.measure(own, **DRAWS)
    with pytest.raises(DataError, match="no kept rewrite"):
        report.gate(measured, 0.9)
    with pytest.raises(DataError, match="only a study of rewrites"):
        report.write(own, measured, results, tmp_path, tmp_path / "labels.csv")
