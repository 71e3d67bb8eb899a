"""Let a model answer the questions of a set: any backend, through the engine, into a file of answers.

Every answer is in a journal the moment it is given: a killed run goes on and asks nothing twice. Questions
whose image is missing or broken are left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.benchmarks.items import QuestionSet, canonical
from polite_flamingo.doctor.survey import list_images
from polite_flamingo.errors import DataError
from polite_flamingo.io import write_jsonl
from polite_flamingo.jobs.backends.load import BackendOptions, open_text_executor
from polite_flamingo.jobs.backends.text import TEXTS, Message, as_it_is
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.prompts.requests import ELABORATE
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Turn

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

SHOWN = 5  # missing images in a message


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question of a set as backends take it.

    Args:
        key: Number of the question.
        text: Its words.
        images: Path of its image below the image root; empty where the set names none.
        attempt: 0; there is no other.
    """

    key: str
    text: str
    images: tuple[str, ...] = ()
    attempt: int = 0

    @property
    def size(self) -> int:
        """Characters of the question."""
        return len(self.text)

    def content(self) -> Any:
        """The words: all that an answer depends on besides image and backend."""
        return [self.text]

    def messages(self) -> Sequence[Message]:
        """One message of the user, the image before the words."""
        parts = [*({"type": "image"} for _ in self.images), {"type": "text", "text": self.text}]
        return [{"role": "user", "content": parts}]

    def prompt(self, plain: Callable[[str], str]) -> str:
        """The assistant's prompt (appendix A)."""
        return assistant_prompt([Turn("human", plain(self.text), tuple(range(len(self.images))))])


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
    job = Job(TEXTS, journal, options.image_root, len(questions), "answers", options.machine.threads)
    with closing(open_text_executor(backend, settings, options, as_it_is)) as executor:
        run(job, questions, executor)
    answered = [0]

    def rows() -> Iterator[dict[str, Any]]:
        for question, outcome in zip(questions, job.outcomes(), strict=True):
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
    places = {canonical(path): path for path in list_images(images.resolve())}
    questions, missing = [], []
    for i, item in enumerate(own.items):
        path = places.get(canonical(item.image))
        if item.image and path is None:
            missing.append(item.image)
            continue
        questions.append(AskedQuestion(str(i), item.question or ELABORATE, (path,) if path else ()))
    if not questions:
        raise DataError(
            "none of the images is there",
            value=missing[:SHOWN],
            where=images,
            next_step="name their folder with --images",
        )
    return questions, len(missing)
