"""Let a model answer the questions of a set: any backend, through the engine, into a file of answers.

Every answer is in a journal the moment it is given: a killed run goes on and asks nothing twice. Questions
whose image is missing or broken are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.benchmarks.forms import NO_IMAGE
from polite_flamingo.benchmarks.items import QuestionSet, canonical
from polite_flamingo.benchmarks.questions import AskedQuestion, ask_backend
from polite_flamingo.doctor.survey import list_images
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import write_jsonl
from polite_flamingo.jobs.backends.load import BackendOptions
from polite_flamingo.prompts.requests import ELABORATE

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

SHOWN = 5  # missing images in a message


def ask_questions(
    own: QuestionSet,
    backend: str,
    settings: GenerationSettings,
    options: BackendOptions,
    out: Path,
    journal: Path,
) -> dict[str, int]:
    """Have the questions of a set answered and write the file of answers.

    Args:
        own: What is asked; captions are asked for as in appendix E.
        backend: What answers, see `jobs.backends.load.load_backend`.
        settings: Decoding.
        options: Machine and folders.
        out: JSON Lines file with ``question_id``, ``image``, ``question``, ``answer`` and ``model_id``.
        journal: Folder of the unfinished work.

    Returns:
        ``asked``, ``answered``, ``missing_images`` and ``failed``.

    Raises:
        DataError: no image of the set is there.
        ModelError: the backend answers nothing any more.
    """
    questions, missing = _questions(own, options.image_root)
    outcomes = ask_backend(questions, backend, settings, options, journal)
    answered = [0]

    def rows() -> Iterator[dict[str, Any]]:
        for question, outcome in zip(questions, outcomes, strict=True):
            if outcome.answer is not None:
                answered[0] += 1
                item = own.items[int(question.key)]
                yield {
                    "question_id": item.id,
                    "image": item.image,
                    "question": item.question,
                    "answer": outcome.answer.text,
                    "model_id": backend,
                }

    write_jsonl(out, rows())
    failed = len(questions) - answered[0]
    return {"asked": len(questions), "answered": answered[0], "missing_images": missing, "failed": failed}


def _questions(own: QuestionSet, images: Path) -> tuple[list[AskedQuestion], int]:
    """The questions whose image is there, and how many have none."""
    places: dict[str, str] = {}
    for path in list_images(images.resolve()):
        places[canonical(path)] = path
        if canonical(path) == "image":  # ScienceQA's lie in folders that have the question's name
            places.setdefault(canonical(path.split("/")[-2] if "/" in path else path), path)
    questions, missing = [], []
    for i, item in enumerate(own.items):
        shown = item.image if NO_IMAGE not in item.groups else ""
        file = places.get(canonical(shown)) if shown else None
        if shown and file is None:
            missing.append(shown)
            continue
        asked = item.prompt or item.question or ELABORATE
        questions.append(AskedQuestion(str(i), asked, (file,) if file else ()))
    if not questions:
        raise DataError(
            "none of the images is there",
            value=missing[:SHOWN],
            where=images,
            next_step="name their folder with --images",
        )
    return questions, len(missing)
