"""Answers of every model to every evaluation sample, and their scores (section 5).

An answer is a `Rewrite`: `raw_answer` holds the annotated answer, `rewritten` the model's own. Its scores are
``rouge_l`` and ``reward``, of captions and of what asks about several images ``sts``, of captions ``cider`` and, where
the image's objects are annotated, those of CHAIR, of questions ``nli``, ``entailed`` and, in a rendered world,
``exact``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate import vqa
from polite_flamingo.evaluate.bootstrap import Figure
from polite_flamingo.evaluate.captioning import best_rouge_l, best_sts, object_scores, references
from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.evaluate.multi_image import change_reference
from polite_flamingo.evaluate.politeness import WinRates, win_rates
from polite_flamingo.evaluate.sets import Kind, kind_of, measure, set_of
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

ENOUGH = 0.9  # ours: share of the samples that a compared model has answered
LOWER_BOUND = "lower_bound"  # the annotation of another sample of the same set

DEFINITIONS = {
    "qa_in_domain": "share of answers that entail the annotated one by the NLI judge (section 5): mean over the sets "
    "of questions that training annotations came from",
    "qa_in_domain_exact": "the same by the rendered world's ground truth: share that gives the true answer",
    "qa_in_domain_rouge_l": "the same by Rouge-L with the annotated answer, in contrast (Figure 11)",
    "qa_in_domain_without_image": "qa_in_domain of stage 3 with the image removed from the prompt",
    "qa_out_of_domain": "as qa_in_domain, over the sets no training annotation came from",
    "caption_rouge_l": "Rouge-L (F, Porter stemmer) with the closest annotated caption, mean over sets",
    "caption_sts": "cosine of sentence embeddings with the closest annotated caption, mean over sets",
    "caption_cider": "CIDEr-D (0 to 10, papers give 100 times as much) with all annotated captions; how rare a word is "
    "depends on the captions of the set; mean over sets",
    "caption_chair_s": "share of captions that name an object which neither annotated objects nor captions of the "
    "image have (CHAIR, sentences); of sets with annotated objects of COCO's categories",
    "caption_chair_i": "share of invented ones among all objects named (CHAIR, instances); likewise",
    "change_rouge_l": "Rouge-L (F, Porter stemmer) with all annotated changes together, mean over sets",
    "change_sts": "cosine of sentence embeddings with all annotated changes together, mean over sets",
    "reward": "mean score of the reward model over all samples, no unit",
    "win_rate": "share of all samples on which the row's reward beats the column's, ties half",
    "sets": "the same of each evaluation set, and `objects`, those named in a caption; lower_bound: the annotation of "
    "another sample of the set as the answer",
    "responses": "reward of PF-1M before and after rewriting and of instruction sets (Figure 6): mean and median",
}


@dataclass(frozen=True, slots=True)
class Judges:
    """Everything that scores an answer (readme "Automated Evaluators").

    Attributes:
        sts: Semantic similarity of two texts.
        nli: Logits of contradiction, entailment and neutral.
        reward: Politeness.
        truth: Ground truth of a rendered world; None on real data.
        cider: CIDEr of each set of captions.
    """

    sts: StsScorer
    nli: NliScorer
    reward: RewardScorer
    truth: GroundTruth | None = None
    cider: Mapping[str, Cider] = field(default_factory=dict)


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
    """Add the scores of their kind to answers; `answers` keep their order."""
    scores: list[dict[str, object]] = [{"reward": value} for value in judges.reward.score(answers)]
    kinds = [kind_of(answer) if answer.task in MEASURED else None for answer in answers]
    texts = [[] if kind is None else _references(answer, kind) for answer, kind in zip(answers, kinds, strict=True)]
    for i, kind in enumerate(kinds):
        if kind is not None:
            scores[i]["rouge_l"] = best_rouge_l(answers[i].rewritten, texts[i])
            if kind is Kind.CAPTION:
                scores[i].update(object_scores(answers[i], texts[i]))
                if cider := judges.cider.get(set_of(answers[i].source, answers[i].split)):
                    scores[i]["cider"] = cider.score(answers[i].rewritten, texts[i])
    described = [i for i, kind in enumerate(kinds) if kind in (Kind.CAPTION, Kind.CHANGE, Kind.PAIR)]
    similar = best_sts([answers[i] for i in described], [texts[i] for i in described], judges.sts)
    for i, sts in zip(described, similar, strict=True):
        scores[i]["sts"] = sts
    questions = [i for i, kind in enumerate(kinds) if kind in (Kind.QUESTION, Kind.PAIR)]
    asked = [replace(answers[i], task=Task.VQA, raw_answer=texts[i][0]) for i in questions]
    for i, logits in zip(questions, judges.nli.score(asked), strict=True):
        assert logits is not None, "questions always have logits"
        verdict = judges.truth.judge_rewrite(answers[i]) if judges.truth is not None else None
        scores[i].update(
            nli=[float(value) for value in logits],
            entailed=vqa.is_entailed(logits),
            exact=None if verdict is None else verdict.answer_preserved,
        )
    return [replace(answer, scores=dict(values)) for answer, values in zip(answers, scores, strict=True)]


def neighbours(samples: Sequence[Sample]) -> list[Rewrite]:
    """For the lower bound of Table 2: to each question on several images, the annotation of another sample of its set.

    It is what an answer gets that knows the set and has not seen the images. The other sample is half the set away, so
    that it is no other sentence on the same images; a set of one sample has no lower bound.
    """
    sets: dict[str, list[Rewrite]] = {}
    for sample in samples:
        answer = as_answer(sample, sample.response)
        if kind_of(answer) in (Kind.CHANGE, Kind.PAIR):
            sets.setdefault(set_of(answer.source, answer.split), []).append(answer)
    return [
        replace(answer, rewritten=" ".join(_references(other := own[(i + len(own) // 2) % len(own)], kind_of(other))))
        for own in sets.values()
        if len(own) > 1
        for i, answer in enumerate(own)
    ]


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


def compare_all(answers: Mapping[str, Sequence[Rewrite]], total: int, *, resamples: int, seed: int) -> WinRates | None:
    """Who beats whom on the samples that all answered; None where there is nobody.

    A model that left out more than a tenth of the samples is not compared: it would narrow everybody's comparison to
    what it answered.

    Args:
        answers: Scored answers by model.
        total: Samples asked.
        resamples: As in `measure`.
        seed: Likewise.
    """
    rewards = {name: rewards_by_id(own) for name, own in answers.items() if len(own) >= ENOUGH * total}
    return win_rates(rewards, list(rewards), resamples=resamples, seed=seed) if rewards else None


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


def _references(answer: Rewrite, kind: Kind) -> list[str]:
    if kind in (Kind.QUESTION, Kind.PAIR):
        return [vqa.annotated(answer)]
    pick = change_reference if kind is Kind.CHANGE else references
    return pick(answer.raw_answer, answer.extras)
