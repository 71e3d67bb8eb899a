"""Stage ``filter`` (section 4.2, Figure 10): scored rewrites -> PF-1M, rejects kept with their reasons.

Reads  : data/P/scored; the world's ground truth where there is one.
Writes : data/P/pf1m/{kept,rejected,decisions,pf1m.json}, reports/P/{filtering.html,filter.json,filter_waterfall.png},
         reports/P/filter/*.csv.

Runs no model. Injected probes are judged like everything else, to measure the filters, and never enter PF-1M. The kept
records hold neither scores nor verdicts, so that they change with what is kept alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from polite_flamingo.errors import DataError
from polite_flamingo.export.pf1m import Pf1mWriter
from polite_flamingo.filter.chain import Decision, FilterSettings
from polite_flamingo.filter.concerns import Concerns
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import decision_row, record_row, schema
from polite_flamingo.filter.sets import SetVerdicts, judge_sets, switched_on
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import count_rows, decide_table
from polite_flamingo.filter.tally import Tally
from polite_flamingo.io.files import publishing
from polite_flamingo.io.shards import ShardWriter, count_shards, read_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Rewrite
from polite_flamingo.reports.filtering.page import write_report
from polite_flamingo.reports.filtering.plot_data import write_plot_data
from polite_flamingo.reports.filtering.waterfall import filter_waterfall
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.world.recall import FilterRecall
from polite_flamingo.world.truth import load_ground_truth

LOG = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Decide on every scored rewrite; write kept, rejected, decisions, pf1m.json; measure the filters by truth."""
    scored, out, settings = params.data / "scored", params.data / "pf1m", params.filter
    total = count_shards(scored)
    if count_rows(scored / TABLE) != total:
        raise DataError("score table and records differ", where=scored, next_step="run `polite-flamingo score` again")
    sets = judge_sets(scored / TABLE, settings)
    tally = Tally(switched_on(settings))
    recall = FilterRecall(load_ground_truth(params.image_root))
    concerns = Concerns()
    with (
        publishing(out) as staging,
        Pf1mWriter(staging / "pf1m.json") as pf1m,
        ShardWriter(staging / "kept") as kept,
        ShardWriter(staging / "rejected") as rejected,
        ShardWriter(staging / DECISIONS, schema()) as decisions,
    ):
        judged = tqdm(decided(scored, settings, sets), total=total, desc="filter", unit="rec", mininterval=1.0)
        for rewrite, decision in judged:
            recall.add(rewrite, decision.kept, decision.text)
            if rewrite.extras.get("probe"):
                continue
            tally.add(rewrite, decision)
            decisions.write(decision_row(rewrite, decision))
            (kept if decision.kept else rejected).write(record_row(decision))
            if decision.kept:
                pf1m.write(decision.rewrite, decision.cut)
                concerns.add(rewrite, decision.text)
    found = concerns.report(sets.report, params.misplaced_judges)
    for source, what in found:
        LOG.warning("%s: %s", source, what)
    page = params.reports / "filtering.html"
    write_report(out, page, image_root=params.image_root, profile=params.profile, sets=sets.report, concerns=found)

    report = {
        **tally.report(),
        **recall.report(),
        "sets": dict(sets.report),
        "thresholds": settings.flat(),
        "overridden": _overridden(params),
        "off": params.filters_off,
        "concerns": [concern._asdict() for concern in found],
    }
    if report["off"]:
        LOG.warning("filters that are off, for the profile names no scorer for them: %s", ", ".join(report["off"]))
    write_json(params.reports / "filter.json", report)
    write_plot_data(params.reports / "filter", report, recall.curves)
    dropped = [(row["filter"], row["dropped"]) for row in report["filters"]]
    filter_waterfall(params.reports / "filter_waterfall.png", report["records"], dropped)
    tracker.params({f"filter.{name}": value for name, value in settings.flat().items()})
    tracker.metrics({name: value for name, value in report.items() if isinstance(value, int | float)})
    LOG.info("kept %s of %s", report["kept"], report["records"])
    return report


def decided(scored: Path, settings: FilterSettings, sets: SetVerdicts) -> Iterator[tuple[Rewrite, Decision]]:
    """Every scored record with the decision on it, in order; one row group of the table is in memory at a time."""
    records = map(Rewrite.from_row, read_shards(scored))
    number = 0
    for batch, decisions in decide_table(scored / TABLE, settings, ("id",)):
        for rewrite, decision in decisions.on(islice(records, len(batch))):
            yield rewrite, sets.apply(rewrite, decision, number)
            number += 1


def _overridden(params: Params) -> Mapping[str, Any]:
    """Thresholds this profile calibrated for its own scorers: name -> [the paper's, the profile's]."""
    return {name: list(values) for name, values in params.overridden.items() if name.startswith("filter.")}
