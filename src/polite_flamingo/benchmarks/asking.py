"""Let a model answer the questions of a set: any backend, through the engine, into a file of answers.

Every answer is in a journal the moment it is given: a killed run goes on and asks nothing twice. Questions
whose image is missing or broken are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from polite_flamingo.benchmarks.forms import NO_IMAGE
from polite_flamingo.benchmarks.items import QuestionSet, canonical
from polite_flamingo.benchmarks.questions import AskedQuestion, ask_backend
from polite_flamingo.doctor.survey import list_images
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import write_jsonl
from polite_flamingo.jobs.backends.load import BackendOptions
from polite_flamingo.prompts.requests import ELABORATE
from polite_flamingo.sources.forms.coco import image_number

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
    places = _places(images)
    questions, missing = [], []
    for i, item in enumerate(own.items):
        shown = item.image if NO_IMAGE not in item.groups else ""
        file = _the_one(places.get(canonical(shown), []), shown, images) if shown else None
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


def _places(images: Path) -> dict[str, list[str]]:
    """Files by their names without ending; ScienceQA's ``image.png`` by the name of its folder."""
    places: dict[str, list[str]] = {}
    for path in list_images(images.resolve()):
        folder = PurePosixPath(path).parent.name
        name = canonical(path)
        places.setdefault(canonical(folder) if name == "image" and folder else name, []).append(path)
    return places


def _the_one(paths: Sequence[str], name: str, images: Path) -> str | None:
    """The file of an image's name; of COCO's, which both years have, the first.

    Raises:
        DataError: there are several others.
    """
    whole = [path for path in paths if f"/{path}".endswith(f"/{name}")]
    found = whole or list(paths)
    if len(found) > 1 and not all(image_number(path) for path in found):
        hint = "name the folder of this set alone"
        raise DataError("several images have this name", value=found[:SHOWN], where=images, next_step=hint)
    return found[0] if found else None
