"""Figures of the goals by rule, and their table."""

from __future__ import annotations

from polite_flamingo.goals.figures import Curated, measure
from polite_flamingo.goals.table import GOALS, as_shares, render_goals, render_records
from polite_flamingo.records import Image, Rewrite, Task

OBJECTS = {"objects": ["dog"], "captions": ["A dog on grass."]}


def curated(number: int, task: Task, raw: str, text: str, *, kept: bool = True, extras=None, **scores) -> Curated:
    rewrite = Rewrite(
        id=f"set/{number:02d}", source="set", split="val", licence="-", task=task, images=(Image(f"{number}.jpg"),),
        instruction="What is it?", raw_answer=raw, rewritten=text, finish_reason="stop",
        extras=extras or {}, scores=scores,
    )  # fmt: skip
    return Curated(rewrite, kept, text)


RECORDS = [
    curated(1, Task.VQA, "dog", "It is a dog.", reward=2.0, reward_raw=1.0),
    curated(2, Task.VQA, "no", "Yes, it is a cat.", kept=False, reward=0.5, reward_raw=1.0),
    curated(3, Task.VQA, "Answer: Dog. it barks", "It is a dog.", nli=[0.1, 2.0, 0.3],
           extras={"short_answer": "dog", "rationales": ["it barks"]}),
    curated(4, Task.CAPTION, "a dog on grass", "A dog sits on grass.", sts=0.9, extras=OBJECTS),
    curated(5, Task.CAPTION, "a dog on grass", "a dog and a car", sts=0.3, kept=False, extras=OBJECTS),
]  # fmt: skip


def test_figures_count_what_they_say() -> None:
    figures = {name: (figure["value"], figure["n"]) for name, figure in measure(RECORDS).items()}
    assert figures["preserved"] == (0.5, 2) and figures["preserved_kept"] == (1.0, 1)
    assert figures["preserved_with_reasons"] == figures["entailed"] == (1.0, 1)
    assert figures["complete"] == (0.8, 5) and figures["kept"] == (0.6, 5)
    assert figures["chair"] == (0.5, 2) and figures["chair_kept"] == (0.0, 1)
    assert figures["sts"] == figures["reward"] == (0.5, 2)
    assert figures["kept_captions"] == (0.5, 2) and figures["reward_answers"] == (0.5, 2)


def test_the_table_has_every_goal_measured_or_not() -> None:
    figures = measure(RECORDS) | as_shares({"auc": 0.96, "other": 1}, "clip", ("auc", "recall_at_1_of_100"))
    lines = render_goals(figures).splitlines()
    assert len(lines) >= 2 + len(GOALS)
    assert any(
        line.startswith("| … after filtering | >= 0.99 | 1.000 (") and line.endswith("| 1 | yes |") for line in lines
    )
    assert any("AUC" in line and "| 0.960 |  | yes |" in line for line in lines)
    assert any("recall@1" in line and "not measured" in line for line in lines)
    assert render_records(RECORDS).startswith("**set/01** (kept) (1.jpg)\n\n- asked: What is it?")
