"""The goals, and what is measured beside each: a table for docs/real_run.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polite_flamingo.goals.figures import Curated, Share

SHOWN = 20  # records on the page
ABSENT = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach.

    Args:
        figure: Its name.
        what: For readers.
        bound: What it should reach.
        at_most: It should stay at or below the bound instead.
    """

    figure: str
    what: str
    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value <= self.bound if self.at_most else value >= self.bound


GOALS = (
    Goal("preserved", "short answer preserved in the rewrite (rule), before filtering", 0.95),
    Goal("preserved_kept", "… after filtering", 0.99),
    Goal("complete", "rewrites that are one or more complete sentences", 0.97),
    Goal("entailed", "answers with reasons: NLI entails the annotation", 0.90),
    Goal("chair", "captions: CHAIR, sentence level, before filtering", 0.10, at_most=True),
    Goal("chair_kept", "… after filtering", 0.05, at_most=True),
    Goal("sts", "captions: STS with the raw captions at least 0.40", 0.95),
    Goal("kept", "kept by the filters", 0.75),
    Goal("reward", "reward: rewritten above raw, pairwise", 0.90),
    Goal("gain_yes_no_and_short", "the photo matters: right short answers of the assistant, with minus without", 0.08),
    Goal("cider_with", "… CIDEr of its captions x 100, with the photo", 35.0),
    Goal("cider_without", "… without", 5.0, at_most=True),
    Goal("nli_esnli", "NLI judge: held-out e-SNLI", 0.84),
    Goal("nli_statements", "NLI judge: statements about question and answer", 0.90),
    Goal("clip_auc", "image-text scorer: true caption above another photo's (AUC)", 0.93),
    Goal("clip_recall_at_1_of_100", "image-text scorer: caption to photo, recall@1 of 100", 0.45),
    Goal("learned_caught", "injected errors caught by the learned filter (calibrate real)", 0.80),
    Goal("learned_clean_kept", "… with clean records kept", 0.90),
)
BESIDE = {
    "unseen_caught": "injected errors of a kind that it was not trained on: caught",
    "calibrate_caught": "injected errors caught by the profile's other filters",
    "calibrate_clean_kept": "… with clean records kept",
    "preserved_with_reasons": "answers with reasons: answer preserved (rule)",
    "kept_answers": "kept: short answers",
    "kept_rationales": "kept: answers with reasons",
    "kept_captions": "kept: captions",
    "reward_answers": "reward: rewritten above raw: short answers",
    "reward_rationales": "… answers with reasons, which were sentences already",
    "reward_captions": "… captions, which were sentences already",
    "short_with": "right short answers of the assistant with the photo",
    "short_without": "… without",
    "okvqa_with": "right short answers, OK-VQA, which it was not tuned on: with the photo",
    "okvqa_without": "… without",
    "aokvqa_with": "right short answers, A-OKVQA: with the photo",
    "aokvqa_without": "… without",
}


def render_goals(figures: Mapping[str, Share]) -> str:
    """The table, Markdown: every goal, then what is measured besides."""
    lines = ["| what | goal | measured (95 % interval) | n | met |", "|---|---|---|---|---|"]
    for goal in GOALS:
        figure = figures.get(goal.figure)
        sign = "<=" if goal.at_most else ">="
        met = "" if figure is None else "yes" if goal.met(figure["value"]) else "**no**"
        lines.append(f"| {goal.what} | {sign} {goal.bound:g} | {_shown(figure)} | {_count(figure)} | {met} |")
    for name, what in BESIDE.items():
        if (figure := figures.get(name)) is not None:
            lines.append(f"| {what} | | {_shown(figure)} | {_count(figure)} | |")
    return "\n".join(lines)


def render_records(records: Sequence[Curated]) -> str:
    """The first records by id, whatever became of them."""
    parts = []
    for one in sorted(records, key=lambda one: one.rewrite.id)[:SHOWN]:
        rewrite = one.rewrite
        image = f" ({', '.join(image.path for image in rewrite.images)})" if rewrite.images else ""
        parts.append(
            f"**{rewrite.id}** ({'kept' if one.kept else 'dropped'}){image}\n\n- asked: {_line(rewrite.instruction)}\n"
            f"- annotation: {_line(rewrite.raw_answer)}\n- rewritten: {_line(rewrite.rewritten)}"
        )
    return "\n\n".join(parts)


def _line(text: str) -> str:
    return " / ".join(text.split("\n"))


def _shown(figure: Share | None) -> str:
    if figure is None:
        return ABSENT
    digits = 3 if abs(figure["value"]) <= 1 else 1
    if "low" not in figure:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"


def _count(figure: Share | None) -> str:
    return "" if figure is None or "n" not in figure else f"{figure['n']:.0f}"


def as_shares(figures: Mapping[str, Any], prefix: str, names: Sequence[str]) -> dict[str, Share]:
    """Figures of a manifest or a report, shares or plain numbers, by name with a prefix."""
    found = {}
    for name in names:
        value = figures.get(name)
        if value is not None:
            found[f"{prefix}_{name}"] = value if isinstance(value, Mapping) else {"value": float(value)}
    return found
