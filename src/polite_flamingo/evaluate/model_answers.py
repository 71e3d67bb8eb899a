"""Answers of one evaluation, made and judged once per model and kept as shards.

A model, a judge or a sample that changes makes the answers anew; a killed run goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.evaluate.answers import (
    ANNOTATION,
    BLIND_ANSWERS,
    BLIND_MODEL,
    LOWER_BOUND,
    MODELS,
    Judges,
    as_answer,
    ask,
    judge,
    neighbours,
)
from polite_flamingo.evaluate.captioning import cider_by_set
from polite_flamingo.images import resolve_image
from polite_flamingo.io.chunks import resumable
from polite_flamingo.io.hashes import fingerprint, hash_file
from polite_flamingo.io.shards import read_shards
from polite_flamingo.records import Rewrite, Sample, Task
from polite_flamingo.world.truth import load_ground_truth

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.model.settings import GenerationSettings

LOG = logging.getLogger(__name__)
T = TypeVar("T", Sample, Rewrite)

JUDGES = ("nli", "sts", "reward")  # folders below the backbones
CHUNK = 64
RESPONSES = "responses"  # folder of the instruction sets' own responses
SCORED = (
    "rouge_l of all answers, cider and chair of captions"  # part of the key: answers scored otherwise are none of these
)


@dataclass
class ModelAnswers:
    """Lets models answer the same samples and keeps their judged answers.

    Args:
        samples: What is asked.
        out: Folder that gets one folder of shards per model.
        models: Folder of the tuned models; the backbones lie in ``backbones`` below it.
        image_root: Folder of the image paths.
        decoding: How the models answer.
        batch_size: Prompts decoded together.
        device: As in `load_flamingo`.
        dtype: Likewise.
    """

    samples: Sequence[Sample]
    out: Path
    models: Path
    image_root: Path
    decoding: GenerationSettings
    batch_size: int = 16
    device: str = "auto"
    dtype: str = "float32"

    def collect(
        self, requested: Sequence[str], in_domain: Sequence[Sample]
    ) -> tuple[dict[str, list[Rewrite]], list[Rewrite] | None]:
        """Judged answers by model (the annotation first), and those given without seeing the images.

        Args:
            requested: Names of models, `ANNOTATION` and `BLIND_ANSWERS`; no other one answers.
            in_domain: What is asked without images.

        Raises:
            ModelError: a tuned model is missing.
        """
        wanted = {*requested, *([BLIND_MODEL] if BLIND_ANSWERS in requested else [])}
        for name in MODELS:
            if name in wanted and not (self.models / name).is_dir():
                raise ModelError(
                    "tuned model is missing",
                    where=self.models / name,
                    next_step=f"run `polite-flamingo tune_{name}` first",
                )
        answers = {ANNOTATION: self.of_annotation(ANNOTATION)} if ANNOTATION in requested else {}
        answers |= {model: self.of_model(model) for model in MODELS if model in requested}
        if BLIND_ANSWERS not in requested:
            return answers, None
        return answers, self.of_model(BLIND_MODEL, in_domain, name=BLIND_ANSWERS, with_images=False)

    def of_annotation(self, name: str) -> list[Rewrite]:
        """The annotated answers, judged as answers."""
        return self._answers(name, self.samples, lambda chunk: [as_answer(s, s.response) for s in chunk])

    def of_neighbours(self) -> list[Rewrite]:
        """What the lower bound of Table 2 answers, judged; none where no question is about several images."""
        found = neighbours(self.samples)
        return self._answers(LOWER_BOUND, found, list) if found else []

    def of_answers(self, name: str, answers: Sequence[Rewrite]) -> list[Rewrite]:
        """Answers that another model has given, judged.

        Args:
            name: Of the model, and of the folder of its answers.
            answers: Unscored.
        """
        return self._answers(name, answers, list, [answer.to_row() for answer in answers])

    def of_responses(self, samples: Sequence[Sample]) -> list[Rewrite]:
        """The first responses of instruction samples, with their reward alone."""
        said = [as_answer(replace(sample, task=Task.TEXT), sample.response) for sample in samples]
        return self._answers(RESPONSES, said, list, [answer.to_row() for answer in said]) if said else []

    def of_model(
        self, model: str, samples: Sequence[Sample] | None = None, *, name: str | None = None, with_images: bool = True
    ) -> list[Rewrite]:
        """A tuned model's judged answers.

        Args:
            model: Its folder below `models`.
            samples: What it is asked; None: everything.
            name: Name of the folder of its answers; None: the model's.
            with_images: False asks without showing the images.

        Raises:
            ModelError: a backbone is missing.
            ImageError: an image is missing.
        """
        weights = self.models / model
        bundle: list[FlamingoBundle] = []

        def answer(chunk: list[Sample]) -> list[Rewrite]:
            if not bundle:
                bundle.append(self._load(weights))
            return ask(
                bundle[0],
                chunk,
                self.decoding,
                image_root=self.image_root,
                batch_size=self.batch_size,
                with_images=with_images,
            )

        chosen = self.samples if samples is None else samples
        return self._answers(name or model, chosen, answer, weights, self.decoding.model_dump(), with_images)

    def judges_report(self, sources: Mapping[str, str]) -> dict[str, Any]:
        """Which models judged: their source in the profile and the fingerprint of their weights."""
        report: dict[str, Any] = {
            name: {"source": sources[name], "weights": fingerprint(self._backbone(name))} for name in JUDGES
        }
        return {**report, "exact": None if self.judges.truth is None else "ground truth of the rendered world"}

    @cached_property
    def judges(self) -> Judges:
        """The loaded judges."""
        from polite_flamingo.scorers.nli import load_nli
        from polite_flamingo.scorers.reward import load_reward
        from polite_flamingo.scorers.sts import load_sts

        return Judges(
            sts=load_sts(self._backbone("sts"), device=self.device),
            nli=load_nli(self._backbone("nli"), device=self.device),
            reward=load_reward(self._backbone("reward"), device=self.device),
            truth=load_ground_truth(self.image_root),
            cider=cider_by_set(as_answer(sample, sample.response) for sample in self.samples),
        )

    def _answers(
        self, name: str, samples: Sequence[T], answer: Callable[[list[T]], list[Rewrite]], *key: object
    ) -> list[Rewrite]:
        def work(chunk: list[T]) -> list[dict[str, Any]]:
            return [scored.to_row() for scored in judge(answer(chunk), self.judges)]

        resumable(
            samples,
            work,
            out=self.out / name,
            key=fingerprint(name, SCORED, self._common_key, *key),
            chunk_size=CHUNK,
            total=len(samples),
            label=f"answers of {name}",
        )
        return list(map(Rewrite.from_row, read_shards(self.out / name)))

    @cached_property
    def _common_key(self) -> str:
        """Fingerprint of what every model's answers depend on: questions, images, backbones and judges."""
        paths = sorted({image.path for sample in self.samples for image in sample.images})
        truth = self.image_root / "ground_truth.jsonl"
        return fingerprint(
            [sample.to_row() for sample in self.samples],
            paths,
            [_hash_image(self.image_root, path) for path in paths],
            *(self._backbone(name) for name in ("flamingo", *JUDGES)),
            hash_file(truth) if truth.is_file() else None,
        )

    def _backbone(self, name: str) -> Path:
        folder = self.models / "backbones" / name
        if not folder.is_dir():
            raise ModelError("backbone is missing", where=folder, next_step="run `polite-flamingo backbones` first")
        return folder

    def _load(self, weights: Path) -> FlamingoBundle:
        from polite_flamingo.model.flamingo import load_flamingo

        LOG.info("loading %s", weights)
        return load_flamingo(self._backbone("flamingo"), device=self.device, dtype=self.dtype, trainables=weights)


def _hash_image(root: Path, path: str) -> str:
    file = resolve_image(root, path)
    if not file.is_file():
        raise ImageError("image is missing", value=path, where=root, next_step="run `polite-flamingo download` again")
    return hash_file(file)
