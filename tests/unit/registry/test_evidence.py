"""Scores that go with a version, and what says that two were measured on the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Rewrite, RewritePair, Task
from polite_flamingo.registry import evidence
from polite_flamingo.registry.evidence import Evidence, assistant_evidence, rewriter_evidence

JUDGES = {"nli": "n1", "sts": "s1", "reward": "r1"}


def answer(index: int, *, right: bool = True, source: str = "seen", task: Task = Task.VQA) -> Rewrite:
    scores: dict[str, Any] = {"reward": float(index), "entailed": right, "exact": right, "rouge_l": 0.5, "sts": 0.25}
    return Rewrite(
        *(f"{source}/{index}", source, "eval", "CC0", task, "what color?", (Image(f"{index // 2}.png"),)),
        raw_answer="red",
        rewritten="It is red.",
        finish_reason="stop",
        scores=scores,
    )


def measured(answers: list[Rewrite], judges: dict[str, str] = JUDGES, images: str = "") -> Evidence:
    rows = (record.to_row() for record in answers)
    return assistant_evidence(rows, seen_sources={"seen"}, judges=judges, hash_image=lambda path: images + path)


ANSWERS = [answer(0), answer(1, right=False), answer(2, source="new"), answer(3, task=Task.CAPTION)]
REST = ANSWERS[1:]


def test_an_assistant_has_a_score_per_figure_and_record() -> None:
    scores = measured(ANSWERS).scores
    assert scores["qa_in_domain"] == {"seen/0": 1.0, "seen/1": 0.0}
    assert scores["qa_out_of_domain_exact"] == {"new/2": 1.0}
    assert scores["caption_sts"] == {"seen/3": 0.25}
    assert len(scores["reward"]) == 4


def test_it_is_read_as_it_was_written_and_the_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    written = measured(ANSWERS)
    written.write(tmp_path / "a")
    measured(ANSWERS[::-1]).write(tmp_path / "b")
    assert Evidence.read(tmp_path / "a") == written
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("changed", "differ"),
    [
        (measured([replace(ANSWERS[0], rewritten="No.", scores={**ANSWERS[0].scores, "reward": 9.0}), *REST]), set()),
        (measured([replace(ANSWERS[0], raw_answer="blue"), *REST]), {"qa_in_domain", "qa_in_domain_exact", "reward"}),
        (measured(ANSWERS, {**JUDGES, "nli": "n2"}), {"qa_in_domain", "qa_out_of_domain"}),
        (measured(ANSWERS, {**JUDGES, "reward": "r2"}), {"reward"}),
        (measured(ANSWERS[:3]), {"reward", "caption_rouge_l", "caption_sts"}),
    ],
)  # fmt: skip
def test_another_question_or_judge_is_another_set_another_answer_is_not(changed: Evidence, differ: set[str]) -> None:
    sets = measured(ANSWERS).sets
    assert {figure for figure in sets if changed.sets.get(figure) != sets[figure]} == differ


def test_other_pixels_are_another_set() -> None:
    assert not set(measured(ANSWERS).sets.values()) & set(measured(ANSWERS, images="other").sets.values())


def test_a_rewriter_has_gains_and_the_fate_of_its_rewrites_without_probes() -> None:
    pair = RewritePair("p", "s", "t", "held_out", Task.VQA, "q", (Image("0.png"),), "red", "It is red.", "n", "", 0)
    row = {**pair.to_row(), "answer": "It's red", "rouge_l_drafted": 0.5, "rouge_l_revised": 0.75}
    probe = replace(answer(5), extras={"probe": "answer_changed"})
    rows = [record.to_row() for record in (answer(0), answer(1), probe)]
    kept = {"seen/0": True, "seen/1": False, "seen/5": False}
    made = rewriter_evidence([row], rows, kept, truth=None, judges={"filter": 1}, hash_image=str)
    assert made.scores == {"rouge_l_gain": {"p": 0.25}, "kept": {"seen/0": 1.0, "seen/1": 0.0}}
    assert made.groups == {"p": "0.png", "seen/0": "0.png", "seen/1": "0.png"}
    other = rewriter_evidence([row], rows, kept, truth=None, judges={"filter": 2}, hash_image=str)
    assert {figure for figure in made.sets if made.sets[figure] != other.sets[figure]} == {"kept"}


def test_of_many_records_the_same_ones_are_kept_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_RECORDS", 3)
    many = [answer(i) for i in range(9)]
    assert len(measured(many).scores["reward"]) == 3
    assert measured(many).scores == measured(many[::-1]).scores


def test_a_file_that_is_no_evidence_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        Evidence.read(tmp_path / "x")
