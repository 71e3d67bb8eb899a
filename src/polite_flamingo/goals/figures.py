"""Figures of rewrites by rule and by the columns that the filters go by; each a share with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polite_flamingo.evaluate.chair import check_objects, shown_objects
from polite_flamingo.laptop.adapters import share
from polite_flamingo.laptop.verbalise import complete, preserved
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.nli import nli_label

Share = Mapping[str, float]  # value, low, high, n
MIN_STS = 0.40  # section 4.2


@dataclass(frozen=True, slots=True)
class Curated:
    """A rewrite and what became of it.

    Args:
        rewrite: The scored record.
        kept: Whether all filters keep it.
        text: As the filters leave it.
    """

    rewrite: Rewrite
    kept: bool
    text: str

    @property
    def kind(self) -> str:
        """``captions``, ``rationales`` (an answer with reasons) or ``answers`` (short ones)."""
        if self.rewrite.task.is_caption:
            return "captions"
        return "rationales" if self.rewrite.extras.get("rationales") else "answers"

    @property
    def answer(self) -> str:
        """The annotated short answer."""
        return str(self.rewrite.extras.get("short_answer") or self.rewrite.raw_answer)


def measure(records: Sequence[Curated]) -> dict[str, Share]:
    """All figures that these records have; one without a record is left out."""
    by_kind: dict[str, list[Curated]] = {}
    for one in records:
        by_kind.setdefault(one.kind, []).append(one)
    answers, captions = by_kind.get("answers", []), by_kind.get("captions", [])
    rationales = by_kind.get("rationales", [])
    found = {
        "preserved": _of(answers, lambda one: preserved(one.answer, one.rewrite.rewritten)),
        "preserved_kept": _of(_kept(answers), lambda one: preserved(one.answer, one.text)),
        "preserved_with_reasons": _of(rationales, lambda one: preserved(one.answer, one.rewrite.rewritten)),
        "complete": _of(records, lambda one: complete(one.rewrite.rewritten)),
        "entailed": _of(rationales, _entailed),
        "chair": _of(captions, lambda one: _invents(one, one.rewrite.rewritten)),
        "chair_kept": _of(_kept(captions), lambda one: _invents(one, one.text)),
        "sts": _of(captions, lambda one: _above(one.rewrite.scores.get("sts"), MIN_STS)),
        "kept": _of(records, lambda one: one.kept),
        "reward": _of(records, _politer),
    }
    for kind, chosen in by_kind.items():
        found[f"kept_{kind}"] = _of(chosen, lambda one: one.kept)
        found[f"reward_{kind}"] = _of(chosen, _politer)
    return {name: figure for name, figure in found.items() if figure["n"]}


def _of(records: Iterable[Curated], right: Callable[[Curated], bool | None]) -> Share:
    """Share of the records to which a question applies."""
    return share([answer for one in records if (answer := right(one)) is not None])


def _kept(records: Iterable[Curated]) -> list[Curated]:
    return [one for one in records if one.kept]


def _politer(one: Curated) -> bool | None:
    return _above(*map(one.rewrite.scores.get, ("reward", "reward_raw")))


def _entailed(one: Curated) -> bool | None:
    logits: Any = one.rewrite.scores.get("nli")
    return None if logits is None else nli_label(logits) == "entailment"


def _invents(one: Curated, text: str) -> bool | None:
    extras = one.rewrite.extras
    shown = shown_objects(extras, [str(caption) for caption in extras.get("captions") or ()])
    return None if shown is None else bool(check_objects(text, shown).invented)


def _above(value: Any, bound: Any) -> bool | None:
    return None if value is None or bound is None else bool(value >= bound)
