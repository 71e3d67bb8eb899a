"""Stage `evaluate` (section 5): every model answers every evaluation sample; figures with intervals, win rates, PNGs.

`evaluate.models` says which models, also others than ours; an ablation measures only those it is about.

Reads  : data/P/samples/evaluation, models/P/{raw,stage1,stage2,stage3}, models/P/backbones; for Figure 6 also
         data/P/samples/instruction, data/P/pf1m/kept and data/P/scored where they exist; the world's ground truth
         where there is one.
Writes : data/P/answers/<model>/ (scored answers), reports/P/evaluate.json, reports/P/figures/.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.other_models import answers_of_others
from polite_flamingo.errors import ConfigError
from polite_flamingo.evaluate import answers as scored
from polite_flamingo.evaluate.figures import draw_all
from polite_flamingo.evaluate.model_answers import JUDGES, ModelAnswers
from polite_flamingo.evaluate.responses import draw_responses, response_rewards, summarise
from polite_flamingo.evaluate.sets import Kind, is_in_domain, kind_of, measure_sets, set_of
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.jobs.backends.load import backend_options
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Sample
from polite_flamingo.tracking.base import Tracker

LOG = logging.getLogger(__name__)
ABSENT = "none"  # a profile's `backbones` entry for a judge it goes without


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Answer, score, measure and draw.

    Args:
        params: The resolved parameters.
        tracker: Gets the judges; report and PNGs are attached by whoever runs the stage.

    Returns:
        What was written to ``evaluate.json``.

    Raises:
        ConfigError: the profile goes without a judge.
        ModelError: a tuned model is missing.
        DataError: there is nothing to evaluate.
    """
    _check(params)
    samples, aside = _samples(params)
    seen = params.trained_on
    in_domain = [s for s in samples if _is_question(s) and is_in_domain(set_of(s.source, s.split), seen)]
    decoding = GenerationSettings.of(params.generation, params.evaluate, seed=params.seed)
    collected = ModelAnswers(
        samples,
        params.data / "answers",
        params.models,
        params.image_root,
        decoding,
        params.runtime.generation_batch_size,
        params.runtime.device,
        params.runtime.dtype,
    )
    answers, blind = collected.collect(params.evaluate.models, in_domain)
    options = backend_options(params.runtime, params.image_root, params.models)
    unscored, others_told = answers_of_others(
        params.evaluate.others, samples, decoding, options, Path(".work") / f"evaluate-{params.profile}"
    )
    answers |= {name: collected.of_answers(name, own) for name, own in unscored.items()}
    draws = {"resamples": params.evaluate.bootstrap_samples, "seed": params.seed}
    models = scored.measure_all(answers, blind, seen_sources=seen, **draws)
    rates = scored.compare_all(answers, len(samples), **draws)
    responses = draw_responses(params.data / "samples" / "instruction", aside, params.seed)
    rewards = response_rewards(collected.of_responses(responses), params.data / "pf1m" / "kept", params.data / "scored")
    report: dict[str, Any] = {
        "models": models,
        "sets": measure_sets({scored.LOWER_BOUND: collected.of_neighbours(), **answers}, seen_sources=seen, **draws),
        "win_rate": None if rates is None else rates.to_json(),
        "responses": summarise(rewards, **draws),
        "others": others_told,
        "judges": collected.judges_report(params.backbones.model_dump()),
        "definitions": scored.DEFINITIONS,
        "samples": {"all": len(samples), "in_domain_questions": len(in_domain), **_tasks(samples)},
    }
    write_json(params.reports / "evaluate.json", report)
    tracker.params({f"judge.{name}": source for name, source in report["judges"].items()})
    for path in draw_all(params.reports / "figures", answers, models, rates, rewards):
        LOG.info("drew %s", path)
    return report


def _samples(params: Params) -> tuple[list[Sample], list[Sample]]:
    """What the models are asked, and what is there for its own responses' reward alone."""
    aside = {(spec.name, spec.split) for spec in params.sources if spec.reward_only}
    everything = [Sample.from_row(row) for row in read_shards(params.data / "samples" / "evaluation")]
    samples = scored.measurable(sample for sample in everything if (sample.source, sample.split) not in aside)
    return samples, [sample for sample in everything if (sample.source, sample.split) in aside]


def _tasks(samples: list[Sample]) -> Counter[str]:
    return Counter(sorted(str(sample.task) for sample in samples))


def _is_question(sample: Sample) -> bool:
    return kind_of(scored.as_answer(sample, "")) is Kind.QUESTION


def _check(params: Params) -> None:
    """Refuse an evaluation without one of its judges."""
    for name in JUDGES:
        if getattr(params.backbones, name) == ABSENT:
            raise ConfigError(
                "the evaluation needs this judge",
                value=ABSENT,
                where=f"backbones.{name}",
                next_step="name a model, or run the pipeline only until `check_pf1m`",
            )
