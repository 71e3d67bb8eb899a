"""The default backend: a trained Flamingo (section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.backends.text import TextQuestion
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import TextMachineSettings

if TYPE_CHECKING:
    from polite_flamingo.model.generate import Prompt
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated


class FlamingoBackend:
    """A rewriter's folder; the model is loaded at the first question.

    Args:
        base: Folder of the Flamingo the rewriter was trained from.
        rewriter: Folder of the trained tensors.
        settings: Decoding.
        image_root: Folder of the image paths.
        machine: Device, type of the weights, batch size, token budget, compilation.
    """

    def __init__(
        self,
        base: Path,
        rewriter: Path,
        settings: GenerationSettings,
        image_root: Path,
        machine: TextMachineSettings,
    ) -> None:
        self._base = base
        self._rewriter = rewriter
        self._settings = settings
        self._image_root = image_root
        self._machine = machine
        self._bundle: Any = None
        self.batch_size = machine.generation_batch_size
        self.identity = fingerprint("flamingo", base, rewriter, settings.model_dump(), machine.dtype)

    def answer(self, questions: Sequence[TextQuestion]) -> list[Generated | Failure]:
        """Continue every prompt; a repair samples, from other random numbers than the first try."""
        from polite_flamingo.model.generate import generate

        bundle = self.bundle
        answers: dict[int, Generated | Failure] = {}
        for repairs in (False, True):
            positions = [i for i, question in enumerate(questions) if (question.attempt > 0) is repairs]
            if not positions:
                continue
            settings = self._settings.model_copy(update={"do_sample": True}) if repairs else self._settings
            generated = generate(
                bundle,
                [flamingo_prompt(bundle.tokenizer, questions[i]) for i in positions],
                settings,
                image_root=self._image_root,
                batch_size=self.batch_size,
                token_budget=self._machine.token_budget,
                compiled=self._machine.compile,
            )
            answers.update(zip(positions, generated, strict=True))
        return [answers[i] for i in range(len(questions))]

    @property
    def bundle(self) -> Any:
        """The loaded model (`FlamingoBundle`)."""
        if self._bundle is None:
            self._bundle = self._load()
        return self._bundle

    def _load(self) -> Any:
        from polite_flamingo.model.flamingo import load_flamingo

        return load_flamingo(
            self._base, device=self._machine.device, dtype=self._machine.dtype, trainables=self._rewriter
        )

    def close(self) -> None:
        """Let go of the model."""
        self._bundle = None


def flamingo_prompt(tokenizer: Any, question: TextQuestion) -> Prompt:
    """The prompt of a question; special tokens within the data are taken apart.

    Raises:
        ModelError: the question brings chat messages, which this model was never taught.
    """
    from polite_flamingo.model.generate import Prompt
    from polite_flamingo.model.tokens import plain

    key = f"{question.key}!{question.attempt}" if question.attempt else question.key
    return Prompt(question.prompt(partial(plain, tokenizer)), question.images, key=key)
