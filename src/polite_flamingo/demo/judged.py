"""What the filters say of a rewrite, as the page shows it: in the paper's order, each with its score and threshold."""

from __future__ import annotations

from polite_flamingo.demo.render import note, table, verdict
from polite_flamingo.filter.sets import LABELS
from polite_flamingo.reports.explain import verdict_rows
from polite_flamingo.talk.judging import RewriteJudgement

STATES = {"FAILED": "drops it", "failed too": "drops it too", "passed": "passes", "-": "–"}  # –: does not apply
DROPS = ("FAILED", "failed too")
HEAD = ("filter", "score", "threshold", "verdict")


def judged(judgement: RewriteJudgement) -> str:
    """The decision, a row per filter that is on, and whatever was not judged."""
    decision = judgement.decision
    said = {
        name: {"score": one.score, "threshold": one.threshold, "passed": one.passed}
        for name, one in decision.verdicts.items()
    }
    rows, off, dropping = [], [], []
    for state, name, number, limit in verdict_rows({**said, "failed": decision.failed}, len(decision.cut)):
        title = LABELS[name][0]
        if name in judgement.unjudged:
            rows.append((title, "", "", "no scorer"))
        elif said[name]["threshold"] is None and name != "unfinished":
            off.append(title)
        else:
            dropping += [len(rows)] if state in DROPS else []
            rows.append((title, number, "" if state == "-" else limit, STATES.get(state, state)))
    notes = [
        f"politeness: raw {raw:+.2f}, rewritten {new:+.2f}" for raw, new in [_rewards(judgement)] if raw is not None
    ]
    notes += [f"cut: {text}" for _, text in decision.cut]
    notes += [f"not here: {name} ({why})" for name, why in judgement.missing.items()]
    notes += [f"off in this profile: {', '.join(off)}"] if off else []
    kept = "Kept: every filter passes it" if decision.kept else f"Dropped: {decision.reason}"
    return verdict(kept, decision.kept) + table(HEAD, rows, dropping) + "".join(map(note, notes))


def _rewards(judgement: RewriteJudgement) -> tuple[float | None, float | None]:
    scores = judgement.scored.scores
    return scores.get("reward_raw"), scores.get("reward")
