"""Figure 6: rewards of PF-1M and of instruction sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from polite_flamingo.evaluate import responses
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Rewrite, Sample, Task, Turn


def said(source: str, number: int) -> Sample:
    turns = (Turn("human", "Hi"), Turn("assistant", "Hello"))
    return Sample(f"{source}/train/{number:03}", source, "train", "-", Task.TEXT, turns)


def test_so_many_responses_of_each_set_are_drawn_and_the_same_ones_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MOST", 2)
    write_shards(tmp_path, [said(s, i).to_row() for s in ("ultrachat", "llava") for i in range(9)])
    others = [said("alpaca", i) for i in range(9)]
    drawn = responses.draw_responses(tmp_path, others, seed=1)
    assert [sample.source for sample in drawn] == ["alpaca"] * 2 + ["llava"] * 2 + ["ultrachat"] * 2
    assert drawn == responses.draw_responses(tmp_path, others[::-1], seed=1)
    assert responses.draw_responses(tmp_path / "absent", [], seed=1) == []


def test_pf1m_stands_among_the_sets_raw_and_rewritten_the_lowest_median_first(tmp_path: Path) -> None:
    def scored(number: int, **scores: float) -> Rewrite:
        return said("coco", number).to_rewrite("A cat.").with_scores(**scores)

    kept, every = tmp_path / "kept", tmp_path / "scored"
    rewrites = [scored(i, reward=0.5, reward_raw=-2.0) for i in range(3)]
    write_shards(every, [rewrite.to_row() for rewrite in rewrites])
    write_shards(kept, [{"id": rewrite.id} for rewrite in rewrites[:2]])
    rewards = responses.response_rewards([said("llava", 0).to_rewrite("Hi").with_scores(reward=0.1)], kept, every)
    assert list(rewards.items()) == [("PF-1M raw", [-2.0, -2.0]), ("llava", [0.1]), ("PF-1M", [0.5, 0.5])]
    report = responses.summarise(rewards, resamples=10, seed=1)
    assert report["PF-1M"] == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 2, "median": 0.5}
