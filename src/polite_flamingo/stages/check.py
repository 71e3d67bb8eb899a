"""The gates `check_raw`, `check_distorted`, `check_rewritten` and `check_pf1m`: shards -> frame -> suite -> verdict.

A gate that holds writes ``reports/P/checks/check_<name>.json``, and ``check_<name>.ok`` with always the same content:
the stages after it depend on that one, so that other figures of a gate that holds re-run nothing. A gate that fails
raises and writes no output of DVC: what it found is in the Data Docs and in ``.work/gates/P/check_<name>.json``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.quality import findings, gates, watch
from polite_flamingo.quality.baseline import read_baseline
from polite_flamingo.quality.check import GateResult
from polite_flamingo.quality.validator import Site, Validator
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.tracking.git import git_tags
from polite_flamingo.tracking.owner import pipeline_run

HOLDS = "the gate holds\n"
LOG = logging.getLogger(__name__)

GATES: dict[str, Callable[[Params], gates.Gate]] = {
    "raw": lambda params: gates.raw(params.data / "samples", params.reports / "download.json", params.quality),
    "distorted": lambda params: gates.distorted(params.data / "pairs"),
    "rewritten": lambda params: gates.rewritten(params.data / "rewrites", params.data / "samples" / "annotation"),
    "pf1m": lambda params: gates.pf1m(params.data / "pf1m", params.filter, params.quality),
}


def run(params: Params, tracker: Tracker, which: str) -> dict[str, Any]:
    """Check one kind of data.

    Args:
        params: The resolved parameters.
        tracker: Where counts are logged.
        which: ``raw``, ``distorted``, ``rewritten`` or ``pf1m``.

    Raises:
        QualityError: names what failed and the rows.
    """
    stage = f"check_{which}"
    findings.forget(params.profile, stage)
    gate = GATES[which](params)
    site = Site(params.reports / "data_docs", Path(".work") / "great_expectations" / params.profile, _run_name())
    validator = Validator(site)
    suite = validator.run(which, gate.frame, gate.suite)
    shares = [*gate.shares]
    if which == "pf1m":
        shares += gates.kept_shares(params.data / "pf1m" / DECISIONS, params.quality.keep_range, validator)
    drift = params.quality.drift
    shares += watch.drift_checks(which, gate.figures, read_baseline(params.profile, which), drift, validator)
    result = GateResult(which, suite.records, [*suite.checks, *shares])
    counts = {"checks": len(result.checks), "failed": len(result.failed), "warned": len(result.warned)}
    tracker.metrics({"records": result.records, **counts})
    report = {**result.to_json(), "spreads": gate.figures.spreads()}
    index = site.docs / "index.html"
    pages = validator.publish()
    found, *alone = findings.write_findings(params.profile, stage, report, run=site.run, index=index, pages=pages)
    for path in [*alone, found] if result.failed else alone:  # one that holds has its report
        tracker.artifact(path)
    for check in result.warned:
        LOG.warning("%s: %s", which, "\n".join(check.lines(result.records)))
    result.require(index)
    write_json(params.reports / "checks" / f"{stage}.json", report)
    write_atomic(params.reports / "checks" / f"{stage}.ok", HOLDS)
    LOG.info("%s: %d records, %d checks hold", which, result.records, len(result.checks))
    return report


def _run_name() -> str:
    """The pipeline's run and the commit it works on."""
    tags = git_tags(Path())
    changed = "_changed" if tags["git.dirty"] == "true" else ""
    return f"{pipeline_run().name}_{tags['git.commit'][:8]}{changed}"
