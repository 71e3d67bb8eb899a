"""Stage `evaluate` (section 5): every model answers every evaluation sample; figures with intervals, win rates, PNGs.

`evaluate.models` says which models; an ablation measures only those it is about.

Reads  : data/P/samples/evaluation, models/P/{raw,stage1,stage2,stage3}, models/P/backbones; for the figures also
         data/P/pf1m/kept and reports/P/filter.json where they exist; the world's ground truth where there is one.
Writes : data/P/answers/<model>/ (scored answers), reports/P/evaluate.json, reports/P/figures/*.png.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, ImageError, ModelError
from polite_flamingo.evaluate import figures
from polite_flamingo.evaluate.answers import Judges, as_answer, ask, judge, measurable, measure, rewards_by_id
from polite_flamingo.evaluate.politeness import WinRates, win_rates
from polite_flamingo.evaluate.vqa import is_out_of_domain
from polite_flamingo.images import resolve_image
from polite_flamingo.io import fingerprint, hash_file, read_json, read_shards, resumable, write_json
from polite_flamingo.params import Params
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.world.truth import load_ground_truth

logger = logging.getLogger(__name__)

STAGES = ("stage1", "stage2", "stage3")
BASELINE = "raw"  # tuned on raw annotations
MODELS = (BASELINE, *STAGES)
ANNOTATION = "annotation"  # the raw annotation itself as an answer
ORDER = (ANNOTATION, *MODELS)
BLIND_MODEL = "stage3"
BLIND = f"{BLIND_MODEL}_without_image"
JUDGES = ("nli", "sts", "reward")
ABSENT = "none"  # a profile's `backbones` entry for a judge it goes without
CHUNK = 64

DEFINITIONS = {
    "qa_in_domain": "share of answers that entail the annotated one by the NLI judge (section 5), in-domain questions",
    "qa_in_domain_exact": "share of answers that give the true answer by the rendered world's ground truth",
    "qa_in_domain_without_image": "qa_in_domain of stage 3 with the image removed from the prompt",
    "qa_out_of_domain": "as qa_in_domain, on sources or splits no training annotation came from",
    "caption_rouge_l": "Rouge-L (F, Porter stemmer) with the closest annotated caption",
    "caption_sts": "cosine of sentence embeddings with the closest annotated caption",
    "change_rouge_l": "Rouge-L (F, Porter stemmer) with all annotated changes together",
    "change_sts": "cosine of sentence embeddings with all annotated changes together",
    "reward": "mean score of the reward model, no unit",
    "win_rate": "share of samples on which the row's reward beats the column's, ties half",
}


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
    samples = measurable(Sample.from_row(row) for row in read_shards(params.data / "samples" / "evaluation"))
    seen = {spec.name for spec in params.sources if spec.role == "annotation"}
    chosen = params.evaluate.models
    tuned = [name for name in MODELS if name in chosen]
    for name in [*tuned, *([BLIND_MODEL] if BLIND in chosen else [])]:
        if not (params.models / name).is_dir():
            raise ModelError(
                "tuned model is missing",
                where=params.models / name,
                next_step=f"run `polite-flamingo tune_{name}` first",
            )
    for judge_name in JUDGES:
        if getattr(params.backbones, judge_name) == ABSENT:
            raise ConfigError(
                "the evaluation needs this judge",
                value=ABSENT,
                where=f"backbones.{judge_name}",
                next_step="name a model, or run the pipeline only until `check_pf1m`",
            )
    work = _Work(params, samples)

    answers: dict[str, list[Rewrite]] = {ANNOTATION: work.annotation()} if ANNOTATION in chosen else {}
    answers |= {model: work.model(model) for model in tuned}
    in_domain = [
        sample for sample in samples if sample.task.is_vqa and not is_out_of_domain(as_answer(sample, ""), seen)
    ]

    settings: dict[str, Any] = {"resamples": params.evaluate.bootstrap_samples, "seed": params.seed}
    models: dict[str, dict[str, Any]] = {
        name: measure(found, seen_sources=seen, purpose=name, **settings) for name, found in answers.items()
    }
    if ANNOTATION in models:
        models[ANNOTATION] = {"reward": models[ANNOTATION]["reward"]}
    if BLIND in chosen:
        blind = work.model(BLIND_MODEL, in_domain, with_images=False)
        unseen = measure(blind, seen_sources=seen, purpose=f"{BLIND_MODEL}:without_image", **settings)
        models.setdefault(BLIND_MODEL, {}).update(
            qa_in_domain_without_image=unseen["qa_in_domain"],
            qa_in_domain_without_image_exact=unseen["qa_in_domain_exact"],
        )
    order = [name for name in ORDER if name in answers]
    rates = win_rates({name: rewards_by_id(answers[name]) for name in order}, order, **settings) if order else None

    report: dict[str, Any] = {
        "models": models,
        "win_rate": None if rates is None else rates.to_json(),
        "judges": work.judges_report(),
        "definitions": DEFINITIONS,
        "samples": {
            "all": len(samples),
            "in_domain_questions": len(in_domain),
            **{str(task): sum(s.task is task for s in samples) for task in sorted({s.task for s in samples})},
        },
    }
    write_json(params.reports / "evaluate.json", report)
    tracker.params({f"judge.{name}": source for name, source in report["judges"].items()})
    for path in _draw(params, answers, models, rates):
        logger.info("drew %s", path)
    return report


@dataclass(slots=True)
class _Work:
    """Answers of one evaluation, made once per model and kept as shards."""

    params: Params
    samples: list[Sample]
    _judges: Judges | None = None
    _base: str = ""

    def annotation(self) -> list[Rewrite]:
        """The annotated answers, scored as answers."""
        return self._answers(ANNOTATION, self.samples, lambda chunk: [as_answer(s, s.response) for s in chunk])

    def model(self, name: str, samples: Sequence[Sample] | None = None, *, with_images: bool = True) -> list[Rewrite]:
        """A tuned model's answers to `samples` (default: all)."""
        from polite_flamingo.model.settings import GenerationSettings

        params = self.params
        weights = params.models / name
        settings = GenerationSettings.of(params.generation, params.evaluate, seed=params.seed)
        bundle: list[Any] = []

        def answer(chunk: list[Sample]) -> list[Rewrite]:
            if not bundle:
                bundle.append(self._load(weights))
            return ask(
                bundle[0],
                chunk,
                settings,
                image_root=params.image_root,
                batch_size=params.runtime.generation_batch_size,
                with_images=with_images,
            )

        out = name if with_images else BLIND
        chosen = self.samples if samples is None else samples
        return self._answers(out, chosen, answer, weights, settings.model_dump(), with_images)

    def judges_report(self) -> dict[str, Any]:
        """Which models judged: their source in the profile and the fingerprint of their weights."""
        backbones = self.params.backbones
        report: dict[str, Any] = {
            name: {"source": getattr(backbones, name), "weights": fingerprint(self._backbone(name))} for name in JUDGES
        }
        truth = self._judge_panel().world is not None
        return {**report, "exact": "ground truth of the rendered world" if truth else None}

    def _answers(
        self, name: str, samples: Sequence[Sample], answer: Callable[[list[Sample]], list[Rewrite]], *key: object
    ) -> list[Rewrite]:
        out = self.params.data / "answers" / name

        def work(chunk: list[Sample]) -> list[dict[str, Any]]:
            return [scored.to_row() for scored in judge(answer(chunk), self._judge_panel())]

        resumable(
            samples,
            work,
            out=out,
            key=fingerprint(name, self._base_key(), *key),
            chunk_size=CHUNK,
            total=len(samples),
            label=f"answers of {name}",
        )
        return list(map(Rewrite.from_row, read_shards(out)))

    def _base_key(self) -> str:
        """Fingerprint of what every model's answers depend on: questions, images, backbones and judges."""
        if not self._base:
            paths = sorted({image.path for sample in self.samples for image in sample.images})
            images = [_hash_image(self.params.image_root, path) for path in paths]
            truth = self.params.image_root / "ground_truth.jsonl"
            self._base = fingerprint(
                [sample.to_row() for sample in self.samples],
                paths,
                images,
                *(self._backbone(name) for name in ("flamingo", *JUDGES)),
                hash_file(truth) if truth.is_file() else None,
            )
        return self._base

    def _backbone(self, name: str) -> Path:
        folder = self.params.models / "backbones" / name
        if not folder.is_dir():
            raise ModelError("backbone is missing", where=folder, next_step="run `polite-flamingo backbones` first")
        return folder

    def _load(self, weights: Path) -> Any:
        from polite_flamingo.model.flamingo import load_flamingo

        runtime = self.params.runtime
        logger.info("loading %s", weights)
        return load_flamingo(self._backbone("flamingo"), device=runtime.device, dtype=runtime.dtype, trainables=weights)

    def _judge_panel(self) -> Judges:
        if self._judges is None:
            from polite_flamingo.scorers.nli import load_nli
            from polite_flamingo.scorers.reward import load_reward
            from polite_flamingo.scorers.sts import load_sts

            device = self.params.runtime.device
            self._judges = Judges(
                sts=load_sts(self._backbone("sts"), device=device),
                nli=load_nli(self._backbone("nli"), device=device),
                reward=load_reward(self._backbone("reward"), device=device),
                world=load_ground_truth(self.params.image_root),
            )
        return self._judges


def _draw(
    params: Params,
    answers: Mapping[str, Sequence[Rewrite]],
    models: Mapping[str, Mapping[str, Any]],
    rates: WinRates | None,
) -> Iterator[Path]:
    folder = params.reports / "figures"
    rewards = {name: list(rewards_by_id(found).values()) for name, found in answers.items()}
    kept = {"rewritten": _kept_rewards(params.data / "pf1m" / "kept")}
    annotated = {name: rewards.pop(name) for name in (ANNOTATION,) if name in rewards}
    yield figures.reward_distributions(folder / "reward_distributions.png", {**annotated, **kept, **rewards})
    if rates is not None:
        yield figures.win_rate_map(folder / "win_rate.png", rates)
    tuned = [name for name in MODELS if name in answers]
    yield figures.u_curve(
        folder / "u_curve.png",
        {name: models[name]["qa_in_domain"] for name in tuned},
        {name: models[name]["reward"] for name in tuned},
        STAGES,
        BASELINE,
    )
    waterfall = _dropped(params.reports / "filter.json")
    if waterfall is not None:
        yield figures.filter_waterfall(folder / "filter_waterfall.png", *waterfall)


def _kept_rewards(folder: Path) -> list[float]:
    """Rewards of the rewritten annotations that passed the filters; none where that stage has not run."""
    if not folder.is_dir():
        return []
    rewards = (json.loads(row["scores"]).get("reward") for row in read_shards(folder, ["scores"]))
    return [float(reward) for reward in rewards if reward is not None]


def _dropped(path: Path) -> tuple[int, list[tuple[str, int]]] | None:
    """Records before the filters and dropped by each, in the order of the filters; None without a report."""
    if not path.is_file():
        return None
    report = read_json(path)
    return int(report["records"]), [(row["filter"], int(row["dropped"])) for row in report["filters"]]


def _hash_image(root: Path, path: str) -> str:
    file = resolve_image(root, path)
    if not file.is_file():
        raise ImageError("image is missing", value=path, where=root, next_step="run `polite-flamingo download` again")
    return hash_file(file)
