"""Questions of an evaluation as backends take them, and the job that has them answered.

Every answer is in a journal the moment it is given: a killed run goes on and asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.jobs.backends.load import BackendOptions, open_text_executor
from polite_flamingo.jobs.backends.text import TEXTS, Message, as_it_is
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.outcomes import Outcome
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Generated, Turn

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question of a set as backends take it.

    Args:
        key: Its id.
        text: Its words.
        images: Paths of its images below the image root; empty where it has none.
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
        """One message of the user, the images before the words."""
        parts = [*({"type": "image"} for _ in self.images), {"type": "text", "text": self.text}]
        return [{"role": "user", "content": parts}]

    def prompt(self, plain: Callable[[str], str]) -> str:
        """The assistant's prompt (appendix A)."""
        return assistant_prompt([Turn("human", plain(self.text), tuple(range(len(self.images))))])


def ask_backend(
    questions: Sequence[AskedQuestion],
    backend: str,
    settings: GenerationSettings,
    options: BackendOptions,
    journal: Path,
    label: str = "answers",
) -> Iterator[Outcome[Generated]]:
    """Have questions answered; the outcomes are streamed in their order when all are there.

    Args:
        questions: What is asked.
        backend: What answers, see `jobs.backends.load.load_backend`.
        settings: Decoding.
        options: Machine and folders.
        journal: Folder of the unfinished work.
        label: Name of the progress bar.

    Raises:
        ModelError: the backend answers nothing any more.
    """
    job = Job(TEXTS, journal, options.image_root, len(questions), label, options.machine.threads)
    with closing(open_text_executor(backend, settings, options, as_it_is)) as executor:
        run(job, questions, executor)
    return job.outcomes()
