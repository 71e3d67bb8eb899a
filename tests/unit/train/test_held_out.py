"""Held-out pairs of the rewriter: which are drawn, and what a revision gains."""

from __future__ import annotations

import pytest

from polite_flamingo.records import Generated, RewritePair, Task
from polite_flamingo.train.held_out import HELD_OUT_PAIRS, draw_held_out, gains, outcomes


def pair(index: int, drafted: str = "red", strategy: str = "text_noise") -> RewritePair:
    return RewritePair(
        f"p{index:03}", "s", "t", "held_out", Task.VQA, "what color ?", (), drafted, "It is red.", strategy, "", 0
    )


def test_few_pairs_are_all_taken_and_of_many_a_draw_in_order() -> None:
    few, many = [pair(i) for i in (2, 0, 1)], [pair(i) for i in range(HELD_OUT_PAIRS + 50)]
    assert [p.id for p in draw_held_out(few, seed=1)] == ["p000", "p001", "p002"]
    drawn = draw_held_out(many, seed=1)
    assert len(drawn) == HELD_OUT_PAIRS
    assert drawn == sorted(drawn, key=lambda p: p.id) == draw_held_out(many[::-1], seed=1)
    assert drawn != draw_held_out(many, seed=2)


def test_the_gain_is_counted_over_all_and_per_distortion() -> None:
    pairs = [pair(0), pair(1, drafted="It is red.", strategy="llm_rewrite")]
    figures = gains(pairs, [Generated("It is red.", "stop", 3), Generated("It is", "length", 2)])
    assert figures["rouge_l_revised"] - figures["rouge_l_drafted"] == pytest.approx(figures["rouge_l_gain"], abs=1e-4)
    assert (
        figures["per_strategy"]["text_noise"]["rouge_l_gain"]
        > 0
        > figures["per_strategy"]["llm_rewrite"]["rouge_l_gain"]
    )
    assert (figures["held_out_pairs"], figures["cut_off"]) == (2, 1)


def test_each_pair_keeps_the_answer_and_what_it_gained() -> None:
    (row,) = outcomes([pair(0)], [Generated("It is red.", "stop", 3)])
    assert (row["id"], row["answer"], row["finish_reason"]) == ("p000", "It is red.", "stop")
    assert row["rouge_l_drafted"] < row["rouge_l_revised"] == 1.0
