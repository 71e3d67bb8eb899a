"""What Table 3 says of a rewriter, by source: share unchanged, mean reward, CLIPScore."""

from __future__ import annotations

from typing import Any

from polite_flamingo.evaluate.generations import by_source, draft_figures
from polite_flamingo.records import Generated, Rewrite, RewritePair, Task
from polite_flamingo.scorers.summary import summarise


def rewrite(source: str, text: str, **scores: Any) -> Rewrite:
    asked = (f"{source}/train/{text}", source, "train", "-", Task.VQA, "What?", (), "red", text, "stop")
    return Rewrite(*asked, scores=scores)


def test_the_rewrites_of_a_run_are_summed_up_by_source() -> None:
    rewrites = [
        rewrite("aokvqa", "red", reward=-2.0, reward_raw=-2.0),
        rewrite("aokvqa", "It is red.", reward=1.0, reward_raw=-2.5),
        rewrite("cc3m", "A red cat.", clip_logits=[20.0, 22.0]),
    ]
    assert summarise(rewrites)["sources"] == {
        "aokvqa": {"records": 2, "unchanged": 0.5, "reward": -0.5, "reward_raw": -2.25, "clip_logit": None},
        "cc3m": {"records": 1, "unchanged": 0.0, "reward": None, "reward_raw": None, "clip_logit": 21.0},
    }


def test_two_generations_stand_side_by_side_for_each_source() -> None:
    class Words:
        def score(self, rewrites: list[Rewrite]) -> list[float]:
            return [float(len(r.rewritten.split())) for r in rewrites]

    def draft(source: str) -> RewritePair:
        made = ("annotation", "", 1)
        return RewritePair("1", "1", source, "train", Task.TEXT, "What?", (), "red", "red", *made)

    drafts = [draft("aokvqa"), draft("coco")]
    figures = {
        name: draft_figures(drafts, [Generated(text, "stop", 1) for text in texts], {"reward": Words()})
        for name, texts in {"first": ("red", "It is red."), "second": ("It is red.", "Red, it is.")}.items()
    }
    assert by_source(drafts, figures) == {
        "aokvqa": {
            "first": {"unchanged": 1.0, "reward": 1.0, "clip_logit": None},
            "second": {"unchanged": 0.0, "reward": 3.0, "clip_logit": None},
        },
        "coco": {
            "first": {"unchanged": 0.0, "reward": 3.0, "clip_logit": None},
            "second": {"unchanged": 0.0, "reward": 3.0, "clip_logit": None},
        },
    }
