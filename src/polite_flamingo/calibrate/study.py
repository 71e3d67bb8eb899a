"""The whole calibration of one set of labelled records, as plain values for report, page and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.labels import CLEAN
from polite_flamingo.calibrate.rates import Resamples, corrupted_after, curve, interval, precision
from polite_flamingo.calibrate.suggest import Suggestion, Target, halves, suggest
from polite_flamingo.calibrate.verdicts import LabelledDecision, LabelledTable, limits, outcomes, suspicion, suspicions
from polite_flamingo.filter.chain import KEPT, ORDER, FilterSettings

if TYPE_CHECKING:
    from polite_flamingo.calibrate.rates import Mask

EXAMPLES = 6  # of records gained and lost
EXAMPLE_CHARACTERS = 300  # characters of a text in an example


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How to measure.

    Args:
        max_corrupted: Target: largest share of corrupted records among the kept.
        min_clean: Target: smallest share of the clean that is kept.
        prevalence: Share of corrupted records before filtering; None: that of the records themselves.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    max_corrupted: float = 0.01
    min_clean: float = 0.9
    prevalence: float | None = None
    resamples: int = 1000
    seed: int = 42


def study(
    table: LabelledTable, present: Mapping[str, FilterSettings], start: FilterSettings, settings: StudySettings
) -> dict[str, Any]:
    """Measure the filters and suggest thresholds.

    Args:
        table: Labelled records.
        present: Name -> thresholds to measure.
        start: Where the search starts; what it suggests is compared with it.
        settings: How.

    Returns:
        JSON values: ``records``, ``prevalence``, ``thresholds``, ``filters`` and ``chain`` (both per thresholds),
        ``own`` (the chain on records without injected errors), ``limits`` (thresholds by score), ``curves``,
        ``keep_rates``, ``suggested`` (chosen on one half, measured on the other) and ``changes``.
    """
    share = float(table.corrupted.mean()) if settings.prevalence is None else settings.prevalence
    target = Target(settings.max_corrupted, settings.min_clean, share)
    chosen_on, measured_on = halves(table)
    suggestion = suggest(chosen_on, start, target)
    all_sets = {**present, "suggested": suggestion.thresholds}
    held_out = {name: _chain(measured_on, thresholds, settings, share) for name, thresholds in all_sets.items()}
    own = _own(table)
    own_share = 0.0 if own is None else float(own.corrupted.mean())
    return {
        "records": _counts(table),
        "prevalence": round(share, 6),
        "filters": {name: _filters(table, thresholds, settings, share) for name, thresholds in present.items()},
        "chain": {name: _chain(table, thresholds, settings, share) for name, thresholds in present.items()},
        "own": {}
        if own is None
        else {name: _chain(own, thresholds, settings, own_share) for name, thresholds in all_sets.items()},
        "curves": _curves(table, start, settings, share),
        "keep_rates": keep_rates(table, start),
        "suggested": {
            "target": {"max_corrupted": target.max_corrupted, "min_clean": target.min_clean},
            "found": {**asdict(suggestion), "thresholds": suggestion.thresholds.flat()},
            "overrides": overrides(suggestion.thresholds, start),
            "held_out": held_out,
            "held_out_met": _reaches(held_out["suggested"], target),
        },
        "changes": changes(table, start, suggestion),
        "thresholds": {name: thresholds.flat() for name, thresholds in present.items()},
        "limits": {
            name: {score: limits(score, thresholds) for score in _suspicions(table, thresholds)}
            for name, thresholds in present.items()
        },
    }


def _own(table: LabelledTable) -> LabelledTable | None:
    """The records without injected errors, where some of them are corrupted and others have injected ones."""
    import numpy as np

    injected = np.array([bool(record.rewrite.extras.get("probe")) for record in table.records])
    if not injected.any() or not table.corrupted[~injected].any():
        return None
    return table.take(np.flatnonzero(~injected))


def _reaches(chain: Mapping[str, Any], target: Target) -> bool:
    wrong, kept = chain["corrupted_after"]["value"], chain["clean_kept"]["value"]
    return wrong is not None and kept is not None and wrong <= target.max_corrupted and kept >= target.min_clean


def overrides(new: FilterSettings, old: FilterSettings) -> dict[str, Any]:
    """The parameters that differ, by their names in params.yaml."""
    before = old.flat()
    return {f"filter.{name}": value for name, value in new.flat().items() if value != before[name]}


def keep_rates(table: LabelledTable, thresholds: FilterSettings) -> dict[str, dict[str, Any]]:
    """Share of each source that a filter alone keeps, against its threshold; probes and other copies left out.

    Returns:
        Filter -> source -> ``thresholds`` and ``kept``, lists of equal length.
    """
    import numpy as np

    natural = np.array([not record.rewrite.extras.get("probe") for record in table.records])
    codes, names = table.batch.texts("source")
    result: dict[str, dict[str, Any]] = {}
    for name, values in _suspicions(table, thresholds).items():
        seen = values[natural & ~np.isnan(values)]
        steps = np.unique(np.round(np.quantile(seen, np.linspace(0, 1, 41)), 3)) if len(seen) else seen
        if len(steps) < 2:
            continue  # all alike: there is no threshold to choose
        for code, source in enumerate(names):
            own = values[natural & (codes == code) & ~np.isnan(values)]
            if len(own):
                kept = [round(float((own <= step).mean()), 4) for step in steps]
                scores = [suspicion(name, float(step)) for step in steps]
                result.setdefault(name, {})[source] = {"thresholds": scores, "kept": kept}
    return result


def changes(table: LabelledTable, old: FilterSettings, suggestion: Suggestion) -> dict[str, Any]:
    """Records the suggestion would keep or drop beside the present thresholds, with examples."""
    import numpy as np

    before = outcomes(table, old)[2]
    after = outcomes(table, suggestion.thresholds)[2]
    was, now = before.failed == KEPT, after.failed == KEPT
    return {
        "gained": _examples(table, np.flatnonzero(~was & now), before.failed),
        "lost": _examples(table, np.flatnonzero(was & ~now), after.failed),
    }


def _examples(table: LabelledTable, positions: Any, failed: Any) -> dict[str, Any]:
    records = [table.records[i] for i in positions]
    step = max(1, len(positions) // EXAMPLES)
    return {
        "records": len(records),
        "corrupted": sum(record.corrupted[0] for record in records),
        "sources": dict(sorted(Counter(record.rewrite.source for record in records).items())),
        "examples": [
            {
                "id": table.records[i].rewrite.id,
                "kind": table.records[i].kind,
                "filter": ORDER[int(failed[i])],
                "instruction": table.records[i].rewrite.instruction[:EXAMPLE_CHARACTERS],
                "raw_answer": table.records[i].rewrite.raw_answer[:EXAMPLE_CHARACTERS],
                "rewritten": table.records[i].rewrite.rewritten[:EXAMPLE_CHARACTERS],
            }
            for i in list(positions)[::step][:EXAMPLES]
        ],
    }


def _counts(table: LabelledTable) -> dict[str, Any]:
    return {
        "total": len(table.records),
        "corrupted": int(table.corrupted.sum()),
        "clean": int((~table.corrupted).sum()),
        "groups": len(set(table.groups)),
        "kinds": dict(sorted(Counter(table.kinds).items())),
        "sources": dict(sorted(Counter(record.rewrite.source for record in table.records).items())),
    }


def _draws(table: LabelledTable, settings: StudySettings, purpose: str) -> Resamples:
    return Resamples.draw(table.groups, resamples=settings.resamples, seed=settings.seed, purpose=purpose)


def _filters(
    table: LabelledTable, thresholds: FilterSettings, settings: StudySettings, share: float
) -> list[dict[str, Any]]:
    draws = _draws(table, settings, "filters")
    _, alone, _ = outcomes(table, thresholds)
    return [
        {"filter": name, **_rates(table, outcome, draws, share)} for name, outcome in alone.items()
    ]  # every filter over the same resamples


def _chain(table: LabelledTable, thresholds: FilterSettings, settings: StudySettings, share: float) -> dict[str, Any]:
    import numpy as np

    draws = _draws(table, settings, "chain")
    chain, _, _ = outcomes(table, thresholds)
    kinds = np.array(table.kinds)
    rates = _rates(table, chain, draws, share)
    rates["recall_by_kind"] = {
        kind: interval(draws.rate(chain.removed, kinds == kind), int((kinds == kind).sum())).to_json()
        for kind in sorted(set(table.kinds) - {CLEAN})
    }
    sources = np.array([record.rewrite.source for record in table.records])
    rates["by_source"] = {
        source: {
            "recall": interval(*_rate(draws, chain.removed, table.corrupted & (sources == source))).to_json(),
            "clean_kept": interval(*_rate(draws, ~chain.removed, ~table.corrupted & (sources == source))).to_json(),
        }
        for source in sorted(set(sources.tolist()))
    }
    return rates


def _rate(draws: Resamples, hit: Mask, among: Mask) -> tuple[Any, int]:
    return draws.rate(hit, among), int(among.sum())


def _rates(table: LabelledTable, outcome: LabelledDecision, draws: Resamples, share: float) -> dict[str, Any]:
    wrong, right = outcome.applies & table.corrupted, outcome.applies & ~table.corrupted
    recall, cost = draws.rate(outcome.removed, wrong), draws.rate(outcome.removed, right)
    n = int(wrong.sum() + right.sum())
    return {
        "corrupted": int(wrong.sum()),
        "clean": int(right.sum()),
        "recall": interval(recall, int(wrong.sum())).to_json(),
        "clean_kept": interval(1 - cost, int(right.sum())).to_json(),
        "precision": interval(precision(recall, cost, share), n).to_json(),
        "corrupted_after": interval(corrupted_after(recall, cost, share), n).to_json(),
    }


def _suspicions(table: LabelledTable, thresholds: FilterSettings) -> dict[str, Any]:
    return suspicions(table, outcomes(table, thresholds)[2].verdicts)


def _curves(table: LabelledTable, thresholds: FilterSettings, settings: StudySettings, share: float) -> dict[str, Any]:
    draws = _draws(table, settings, "curves")
    measured_curves = {}
    for name, values in _suspicions(table, thresholds).items():
        measured = curve(values, table.corrupted, draws, share)
        if measured is not None:
            measured_curves[name] = {
                **asdict(measured),
                "auc": measured.auc.to_json(),
                "average_precision": measured.average_precision.to_json(),
            }
    return measured_curves
