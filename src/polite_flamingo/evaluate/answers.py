"""Answers of every model to every evaluation sample, their scores, and the figures of section 5 from them.

An answer is a `Rewrite`: `raw_answer` holds the annotated answer, `rewritten` the model's own. Its scores are
``rouge_l`` and ``sts`` (captioning, change), ``nli``, ``entailed`` and, in a rendered world, ``exact`` (VQA), and
``reward`` (everything).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate import vqa
from polite_flamingo.evaluate.bootstrap import Figure, bootstrap_mean
from polite_flamingo.evaluate.captioning import best_rouge_l, best_sts, references
from polite_flamingo.evaluate.multi_image import change_reference
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Rewrite, Sample, Task, Turn
from polite_flamingo.world.truth import GroundTruth

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.scorers.nli import NliScorer
    from polite_flamingo.scorers.reward import RewardScorer
    from polite_flamingo.scorers.sts import StsScorer

MEASURED = (Task.CAPTION, Task.CHANGE, Task.VQA)
BLIND = "without_image"  # extras key of an answer given without seeing the images

STAGES = ("stage1", "stage2", "stage3")
BASELINE = "raw"  # tuned on raw annotations
MODELS = (BASELINE, *STAGES)
ANNOTATION = "annotation"  # the raw annotation itself as an answer
BLIND_MODEL = "stage3"
BLIND_ANSWERS = f"{BLIND_MODEL}_{BLIND}"  # the same model asked without the images

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


@dataclass(frozen=True, slots=True)
class Judges:
    """Everything that scores an answer (readme "Automated Evaluators").

    Attributes:
        sts: Semantic similarity of two texts.
        nli: Logits of contradiction, entailment and neutral.
        reward: Politeness.
        truth: Ground truth of a rendered world; None on real data.
    """

    sts: StsScorer
    nli: NliScorer
    reward: RewardScorer
    truth: GroundTruth | None = None


def question_of(
    sample: Sample, *, with_images: bool = True, clean: Callable[[str], str] = str
) -> tuple[str, tuple[str, ...]]:
    """Prompt (appendix A) and image paths for the first question of a sample.

    Args:
        sample: The sample.
        with_images: False removes the images from the prompt and shows the words alone.
        clean: Takes a tokenizer's special tokens out of the question, so that no data poses as an image.
    """
    first = sample.turns[0]
    question = Turn(first.role, clean(first.text), first.images)
    if not with_images:
        return assistant_prompt(vqa.blind([question])), ()
    return assistant_prompt([question]), tuple(sample.images[i].path for i in question.images)


def as_answer(sample: Sample, text: str, finish_reason: str = "stop", *, with_images: bool = True) -> Rewrite:
    """The record of `text` as an answer to the first question of `sample`."""
    extras = sample.extras if with_images else {**sample.extras, BLIND: True}
    return sample.to_rewrite(text, finish_reason, extras)


def ask(
    bundle: FlamingoBundle,
    samples: Sequence[Sample],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    with_images: bool = True,
) -> list[Rewrite]:
    """Let a model answer the first question of every sample.

    Args:
        bundle: The model.
        samples: The questions.
        settings: Decoding.
        image_root: Folder that image paths are relative to.
        batch_size: Prompts decoded together.
        with_images: False asks without showing the images.

    Returns:
        One unscored answer per sample, in order.
    """
    from polite_flamingo.model.generate import Prompt, generate
    from polite_flamingo.model.tokens import plain

    clean = partial(plain, bundle.tokenizer)
    prompts = [Prompt(*question_of(s, with_images=with_images, clean=clean), key=s.id) for s in samples]
    answers = generate(bundle, prompts, settings, image_root=image_root, batch_size=batch_size)
    return [
        as_answer(sample, answer.text, answer.finish_reason, with_images=with_images)
        for sample, answer in zip(samples, answers, strict=True)
    ]


def judge(answers: Sequence[Rewrite], judges: Judges) -> list[Rewrite]:
    """Add the scores of their task to answers; `answers` keep their order."""
    scores: list[dict[str, object]] = [{"reward": value} for value in judges.reward.score(answers)]
    described = [i for i, answer in enumerate(answers) if answer.task in (Task.CAPTION, Task.CHANGE)]
    captions = [_references(answers[i]) for i in described]
    similar = best_sts([answers[i] for i in described], captions, judges.sts)
    for i, texts, sts in zip(described, captions, similar, strict=True):
        scores[i].update(rouge_l=best_rouge_l(answers[i].rewritten, texts), sts=sts)
    questions = [i for i, answer in enumerate(answers) if answer.task.is_vqa]
    for i, logits in zip(questions, judges.nli.score([answers[i] for i in questions]), strict=True):
        assert logits is not None, "questions always have logits"
        verdict = judges.truth.judge_rewrite(answers[i]) if judges.truth is not None else None
        scores[i].update(
            nli=[float(value) for value in logits],
            entailed=vqa.is_entailed(logits),
            exact=None if verdict is None else verdict.answer_preserved,
        )
    return [replace(answer, scores=dict(values)) for answer, values in zip(answers, scores, strict=True)]


def measure(
    answers: Iterable[Rewrite], *, seen_sources: Collection[str], resamples: int, seed: int, purpose: str
) -> dict[str, Figure]:
    """Figures of one model from its scored answers.

    Args:
        answers: Scored answers.
        seen_sources: Sources the training annotations came from; questions of others are out of domain.
        resamples: Bootstrap resamples.
        seed: The run's seed.
        purpose: The model's name.

    Returns:
        ``qa_in_domain`` and ``qa_out_of_domain`` (share entailed, as in the paper), the same with ``_exact`` (share
        right by ground truth), ``caption_rouge_l``, ``caption_sts``, ``change_rouge_l``, ``change_sts`` and
        ``reward``; a figure nothing was measured for has n = 0.
    """
    scores = outcomes(answers, seen_sources=seen_sources)
    return {
        name: bootstrap_mean(
            list(values.values()), resamples=resamples, seed=seed, purpose=f"{purpose}:{name}"
        ).to_json()
        for name, values in scores.items()
    }


def measure_all(
    answers: Mapping[str, Sequence[Rewrite]],
    blind: Sequence[Rewrite] | None,
    *,
    seen_sources: Collection[str],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Figure]]:
    """Figures of every model; of the annotation only its reward.

    Args:
        answers: Scored answers by model, and of the annotation.
        blind: Answers of `BLIND_MODEL` to in-domain questions without their images, if there are any.
        seen_sources: As in `measure`.
        resamples: Likewise.
        seed: Likewise.
    """
    models = {
        name: measure(scored, seen_sources=seen_sources, resamples=resamples, seed=seed, purpose=name)
        for name, scored in answers.items()
    }
    if ANNOTATION in models:
        models[ANNOTATION] = {"reward": models[ANNOTATION]["reward"]}
    if blind is not None:
        unseen = measure(
            blind, seen_sources=seen_sources, resamples=resamples, seed=seed, purpose=f"{BLIND_MODEL}:without_image"
        )
        models.setdefault(BLIND_MODEL, {}).update(
            qa_in_domain_without_image=unseen["qa_in_domain"],
            qa_in_domain_without_image_exact=unseen["qa_in_domain_exact"],
        )
    return models


def outcomes(answers: Iterable[Rewrite], *, seen_sources: Collection[str]) -> dict[str, dict[str, float]]:
    """What `measure` takes the means of: figure -> sample id -> score of one model's answer."""
    values: dict[str, dict[str, float]] = {name: {} for name in _FIGURES}

    def add(name: str, key: str, value: object) -> None:
        if value is not None:
            values[name][key] = float(value)  # type: ignore[arg-type]

    for answer in answers:
        add("reward", answer.id, answer.scores["reward"])
        if answer.task.is_vqa:
            domain = "qa_out_of_domain" if vqa.is_out_of_domain(answer, seen_sources) else "qa_in_domain"
            add(domain, answer.id, answer.scores["entailed"])
            add(f"{domain}_exact", answer.id, answer.scores["exact"])
        elif answer.task in (Task.CAPTION, Task.CHANGE):
            add(f"{answer.task}_rouge_l", answer.id, answer.scores["rouge_l"])
            add(f"{answer.task}_sts", answer.id, answer.scores["sts"])
    return values


def measurable(samples: Iterable[Sample]) -> list[Sample]:
    """Evaluation samples of a task this evaluation measures (captioning, change, VQA).

    Raises:
        DataError: there is none.
    """
    chosen = [sample for sample in samples if sample.task in MEASURED]
    if not chosen:
        raise DataError(
            "no evaluation samples to answer",
            value=[str(task) for task in MEASURED],
            next_step="give the profile a source with role `evaluation`, then run `polite-flamingo download`",
        )
    return chosen


def rewards_by_id(answers: Iterable[Rewrite]) -> Mapping[str, float]:
    """Sample id -> reward."""
    return {answer.id: float(answer.scores["reward"]) for answer in answers}


_FIGURES = (
    "qa_in_domain",
    "qa_in_domain_exact",
    "qa_out_of_domain",
    "qa_out_of_domain_exact",
    "caption_rouge_l",
    "caption_sts",
    "change_rouge_l",
    "change_sts",
    "reward",
)


def _references(answer: Rewrite) -> list[str]:
    pick = change_reference if answer.task is Task.CHANGE else references
    return pick(answer.raw_answer, answer.extras)
