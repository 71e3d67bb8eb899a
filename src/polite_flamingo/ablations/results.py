"""What the experiments measured: one JSON per experiment, and the figures of a variant over its seeds.

The interval of a variant is a bootstrap over samples of the score averaged over seeds; beside it stands the standard
deviation between seeds. A difference from the recipe, or from the stage before, is paired: the same samples and seeds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from polite_flamingo.ablations.experiments import Experiment
from polite_flamingo.ablations.steps import STEPS, changes, over_seeds, step_name
from polite_flamingo.ablations.variants import BASE
from polite_flamingo.evaluate.bootstrap import bootstrap_mean
from polite_flamingo.evaluate.sets import balanced, outcomes
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Rewrite

TUNED = ("stage1", "stage2", "stage3")
METRICS = {  # figure -> heading
    "qa_in_domain": "in domain",
    "qa_in_domain_exact": "in domain, exact",
    "qa_out_of_domain": "out of domain",
    "qa_out_of_domain_exact": "out of domain, exact",
    "caption_sts": "caption STS",
    "change_sts": "change STS",
    "reward": "reward",
}


def collect(params: Params, experiment: Experiment, folder: Path) -> Path:
    """Write ``<experiment>.json`` from what DVC kept: settings, training reports, and every answer's scores.

    Args:
        params: The profile's parameters.
        experiment: A finished one.
        folder: Folder of the reports.
    """
    path = folder / f"{experiment.name}.json"
    if path.is_file():
        return path
    from dvc.api import DVCFileSystem

    project = DVCFileSystem(".", rev=experiment.name)
    seen = params.trained_on
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for stage in experiment.variant.stages:
        with tempfile.TemporaryDirectory() as scratch:
            project.get((params.data / "answers" / stage).as_posix(), f"{scratch}/answers", recursive=True)
            rows = list(read_shards(Path(scratch) / "answers"))
        outcome = outcomes(map(Rewrite.from_row, rows), seen_sources=seen)
        scores[stage] = {name: _rounded(outcome[name]) for name in METRICS}
    names = ("evaluate", *(f"tune_{stage}" for stage in TUNED))
    reports = {name: json.loads(project.read_text((params.reports / f"{name}.json").as_posix())) for name in names}
    write_json(
        path,
        {
            "variant": experiment.variant.name,
            "label": experiment.variant.label,
            "seed": experiment.seed,
            "experiment": experiment.name,
            "changes": dict(experiment.changes),
            "judges": reports["evaluate"]["judges"],
            "training": {stage: _training(reports[f"tune_{stage}"]) for stage in TUNED},
            "means": {stage: {m: _mean(v.values()) for m, v in values.items()} for stage, values in scores.items()},
            "scores": scores,
        },
    )
    return path


def summarise(files: Iterable[Path], *, resamples: int, seed: int) -> dict[str, Any]:
    """Figures of every variant after every stage, and what changed from stage to stage.

    Args:
        files: Reports of `collect`.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        ``judges`` of the answers, and ``variants`` (in the order of `files`), each with ``label``, ``seeds``,
        ``changes``, ``stages`` (stage -> metric -> mean, interval, values by seed, difference from the recipe) and
        ``steps`` (step -> metric -> the same of the change, and how it stands ``over_seeds``).
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    judges: dict[str, Any] = {}
    for report in map(read_json, files):
        groups.setdefault(report["variant"], []).append(report)
        judges = report["judges"]  # of all: they are among what an experiment is named after
    base = {report["seed"]: report for report in groups.get(BASE, [])}
    summary: dict[str, Any] = {}
    for name, reports in groups.items():
        stages: dict[str, Any] = {}
        for stage in reports[0]["scores"]:
            stages[stage] = {}
            for metric in METRICS:
                purpose = f"{name}:{stage}:{metric}"
                runs = {r["seed"]: _scores(r, stage, metric) for r in reports}
                figure = _figure(runs, resamples=resamples, seed=seed, purpose=purpose)
                paired = changes({s: _scores(r, stage, metric) for s, r in base.items()}, runs)
                if name != BASE and paired:
                    figure["difference"] = _figure(paired, resamples=resamples, seed=seed, purpose=f"{purpose}:paired")
                stages[stage][metric] = figure
        sets = {k: v for k, v in reports[0]["changes"].items() if k not in ("tune.common.seed", "evaluate.models")}
        summary[name] = {
            "label": reports[0]["label"],
            "seeds": sorted(r["seed"] for r in reports),
            "changes": sets,
            "stages": stages,
            "steps": _steps(reports, resamples=resamples, seed=seed),
        }
    return {"judges": judges, "variants": summary, "metrics": METRICS}


def _steps(reports: Sequence[Mapping[str, Any]], *, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """What changed between the stages that all these reports of a variant have."""
    measured = set.intersection(*(set(report["scores"]) for report in reports))
    found: dict[str, dict[str, Any]] = {}
    for before, after in STEPS:
        if not {before, after} <= measured:
            continue
        name = step_name(before, after)
        found[name] = {}
        for metric in METRICS:
            first, last = ({r["seed"]: _scores(r, stage, metric) for r in reports} for stage in (before, after))
            runs = changes(first, last)
            figure = _figure(runs, resamples=resamples, seed=seed, purpose=f"{reports[0]['variant']}:{name}:{metric}")
            found[name][metric] = {**figure, "over_seeds": over_seeds(runs)}
    return found


def _figure(runs: Mapping[int, Mapping[str, float]], *, resamples: int, seed: int, purpose: str) -> dict[str, Any]:
    """Mean over seeds and samples, its interval over samples, and what each seed gave."""
    shared = sorted(set.intersection(*(set(scores) for scores in runs.values())))
    averaged = [fmean(scores[key] for scores in runs.values()) for key in shared]
    by_seed = {str(run): _mean(scores.values()) for run, scores in sorted(runs.items())}
    values = [value for value in by_seed.values() if value is not None]
    interval = bootstrap_mean(averaged, resamples=resamples, seed=seed, purpose=purpose).to_json()
    deviation = round(stdev(values), 6) if len(values) > 1 else None
    return {**interval, "by_seed": by_seed, "sd": deviation}


def _scores(report: Mapping[str, Any], stage: str, metric: str) -> dict[str, float]:
    """Scores whose mean is the figure of evaluate.json: a mean over sets, of the reward over samples."""
    scores: dict[str, float] = report["scores"][stage][metric]
    return scores if metric == "reward" else balanced(scores)


def _training(report: Mapping[str, Any]) -> dict[str, Any]:
    parts: Sequence[str] = ("skipped", "steps", "tokens", "final_loss", "trainable")
    return {name: report[name] for name in parts if name in report}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 5) for key, value in values.items()}


def _mean(values: Iterable[float]) -> float | None:
    present = list(values)
    return round(fmean(present), 6) if present else None
