"""What the whole run takes, by what a few records took: tokens, money, time, disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polite_flamingo.model.settings import NONE
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.costs import costs_of
from polite_flamingo.preview.work import Previewed, Spent
from polite_flamingo.scorers.load import SCORERS

_ASSUMED = "assumed: `plan --records` tells more"
_LARGER = "an upper bound, larger batches are faster"


@dataclass(frozen=True, slots=True)
class Forecast:
    """Figures of one record and of the whole run; those that nobody knows are None.

    Args:
        records: Annotations of the whole run.
        tokens_in: Prompt tokens, images included.
        tokens_out: Tokens generated.
        money: What they cost; None also where no price is stated.
        hours: Stage -> hours on the clock.
        assumed: What of `hours` rests on no measure of this preview.
        bytes: Kind of output -> bytes.
        kept: Records that the filters would keep.
    """

    records: int
    tokens_in: float | None
    tokens_out: float
    money: float | None
    hours: Mapping[str, float | None]
    assumed: tuple[str, ...]
    bytes: Mapping[str, float]
    kept: float

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def forecast(params: Params, previewed: Previewed, records: int, prices: Mapping[str, float]) -> Forecast:
    """Multiply.

    Args:
        params: Resolved parameters.
        previewed: A preview.
        records: Annotations of the whole run.
        prices: ``price_in``, ``price_out`` of a million tokens, in place of the profile's.
    """
    measures = previewed.measures
    costs = costs_of(params, prices).values
    asked = {name: records * spent.answers / measures.records for name, spent in measures.spent.items()}
    counted = Counter(
        "captions" if rewrite.task.is_caption else "questions" if rewrite.task.is_vqa else "others"
        for rewrite, _ in previewed.rows
    )
    share = {name: counted[name] / counted.total() for name in ("captions", "questions")}
    scored = {"clip": share["captions"], "nli": share["questions"], "reward": 1.0, "sts": sum(share.values())}
    score = records * costs.score_ms / 1000
    assumed = []
    for name in SCORERS:
        if getattr(params.backbones, name) != NONE and scored[name]:
            rate = measures.score_rates.get(name)
            assumed += [name] if rate is None else []
            score += records * scored[name] / (rate or getattr(costs, name))
    uncounted = any(spent.tokens_in is None for spent in measures.spent.values())
    tokens_in = None if uncounted else sum(asked[n] * (s.tokens_in or 0) for n, s in measures.spent.items())
    tokens_out = sum(asked[name] * spent.tokens_out for name, spent in measures.spent.items())
    money = None
    if costs.price_in or costs.price_out:
        money = ((tokens_in or 0) * costs.price_in + tokens_out * costs.price_out) / 1e6
    kept = sum(bool(row["kept"]) for _, row in previewed.rows) / len(previewed.rows)
    return Forecast(
        records,
        tokens_in,
        tokens_out,
        money,
        {
            **{n: None if s.rate is None else asked[n] / s.rate / 3600 for n, s in measures.spent.items()},
            "score": score / 3600,
            "filter and gates": records * (costs.filter_ms + costs.gates_ms) / 3.6e6,
        },
        tuple(assumed),
        {
            **{name.removesuffix("_bytes"): records * size for name, size in measures.sizes.items()},
            "unfinished work": records * costs.journal_bytes,
        },
        records * kept,
    )


def table_of(whole: Forecast, previewed: Previewed) -> list[tuple[str, str, str]]:
    """Rows for people: what, how much, and from what."""
    measures = previewed.measures
    spent = measures.spent
    priced = "tokens by their prices"
    if whole.money is None:
        counted = any(one.tokens_in is not None for one in spent.values())
        priced = "state --price-in, --price-out of a million tokens" if counted else "no endpoint counts tokens"
    rows = [
        ("records", f"{whole.records:,}", ""),
        ("kept", f"about {whole.kept:,.0f}", f"by {measures.records} records"),
        ("tokens in", "-" if whole.tokens_in is None else f"{whole.tokens_in:,.0f}", _an_answer(spent, "tokens_in")),
        ("tokens out", f"{whole.tokens_out:,.0f}", _an_answer(spent, "tokens_out")),
        ("money", "-" if whole.money is None else f"{whole.money:,.2f}", priced),
    ]
    for stage, hours in whole.hours.items():
        basis = ""
        if stage in spent:
            one = spent[stage]
            few = "" if one.tokens_in is not None else f", {measures.records} at a time: {_LARGER}"
            basis = "all answers came from .work/answers: not timed" if one.rate is None else f"{one.rate:.3g}/s{few}"
        elif stage == "score" and whole.assumed:
            basis = f"{_ASSUMED} ({', '.join(whole.assumed)})"
        elif stage == "score" and measures.score_rates:
            basis = f"{measures.records} records at a time: {_LARGER}"
        rows.append((f"time to {stage}", duration(hours), basis))
    rows.append(("disk", size(sum(whole.bytes.values())), "images stay where they are"))
    return rows


def _an_answer(spent: Mapping[str, Spent], name: str) -> str:
    """``412 an answer``, of several models each."""
    known = {who: getattr(one, name) for who, one in spent.items()}
    parts = [f"{value:,.0f} an answer ({who})" for who, value in known.items() if value is not None]
    return "; ".join(parts) or "the model does not count them"


def duration(hours: float | None) -> str:
    """For people: seconds, minutes, hours or days."""
    if hours is None:
        return "-"
    for unit, length in (("days", 24.0), ("hours", 1.0), ("min", 1 / 60)):
        if hours >= 2 * length:
            return f"{hours / length:,.1f} {unit}"
    return f"{hours * 3600:.1f} s"


def size(count: float) -> str:
    """For people: kB, MB, GB or TB."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
