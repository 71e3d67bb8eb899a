"""The rewriter: a question, its images and a terse answer in, a polite answer out (sections 3.3 and 4.1)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from polite_flamingo.batching.tickets import Completion, EngineRequest
from polite_flamingo.errors import DataError
from polite_flamingo.io.chunks import chunked
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.prompts.rewriting import DEFAULT, load_prompts
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion, question_of
from polite_flamingo.rewrite.repair import RepairingBackend, RepairPolicy, RewriteAnswer
from polite_flamingo.talk.decoding import Decoding
from polite_flamingo.talk.generation import Speaker
from polite_flamingo.talk.images import Source
from polite_flamingo.talk.judging import RewriteJudge, RewriteJudgement
from polite_flamingo.talk.models import PARAMS, ModelPlace, find_model, load_model
from polite_flamingo.talk.raw_answers import GENERAL, RawAnswer, checked_answer, names_of
from polite_flamingo.talk.tables import CHUNK, rows_of, with_columns

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

REJECTS = "mend it, or say rejects=True, which gives an answer with its error"
COLUMNS = ("question", "answer", "images", "task")  # of a batch of `map`


@dataclass(frozen=True, slots=True)
class PoliteAnswer:
    """A rewritten answer.

    Args:
        text: The polite answer, or the raw one where repair gave up (`kept_raw`).
        raw: The raw answer.
        finish_reason: "stop", or "length" where it was cut off, of the last try.
        tokens: Tokens generated, all tries together.
        attempts: Tries beyond the first.
        fault: What was wrong with the first try, where it was tried again: unfinished, empty, unchanged, leaked boxes
            or repetitive.
        kept_raw: True where no try was without a fault.
        error: Why there is no answer, of an item of `Rewriter.rewrite_all`; else empty.
    """

    text: str
    raw: str
    finish_reason: str
    tokens: int = 0
    attempts: int = 0
    fault: str = ""
    kept_raw: bool = False
    error: str = ""


class Rewriter:
    """A model that rewrites terse answers.

    Args:
        speaker: The loaded model.
        place: Where it came from.
        style: How a chat model is asked: polite, concise, stepwise, or a template file; a Flamingo knows none.
        repair: When an answer is generated again.
        scorers: Who scores for `judge`, see `talk.judging.RewriteJudge.of`.
    """

    def __init__(
        self,
        speaker: Speaker,
        place: ModelPlace,
        *,
        style: str = DEFAULT,
        repair: RepairPolicy | None = None,
        scorers: str | Mapping[str, str] | None = None,
    ) -> None:
        self.speaker, self.place = speaker, place
        self._scorers = scorers
        self._judge: RewriteJudge | None = None
        self.repair = RepairPolicy() if repair is None else repair
        self._prompts = None if speaker.is_flamingo else load_prompts(style)

    @classmethod
    def load(
        cls,
        name: str | Path = "rewriter",
        *,
        base: str | Path | None = None,
        profile: str | None = None,
        params: Path = PARAMS,
        device: str = "auto",
        dtype: str | None = None,
        style: str = DEFAULT,
        repair: RepairPolicy | None = None,
        scorers: str | Mapping[str, str] | None = None,
    ) -> Self:
        """Load a rewriter.

        Args:
            name: ``rewriter`` (of a profile), ``laptop`` (comes with the package), a folder,
                ``hf:<folder or id@revision>``, or ``models:/polite-flamingo-rewriter@champion``.
            base: Folder of the Flamingo that a folder's weights were trained from; None: found beside it.
            profile: Of the trained one; None: that of params.yaml, else tiny.
            params: The project's params file; it need not be there.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
            dtype: ``float32``, ``bfloat16`` or ``float16``; None: the profile's, else float32.
            style: See the class.
            repair: See the class; None: two more tries.
            scorers: See the class; None: those beside the model's base.

        Raises:
            ConfigError: there is no such model or style, or it is an assistant.
            ModelError: its weights cannot be used.
        """
        place = find_model(name, "rewriter", base=base, profile=profile, params=params)
        return cls(
            Speaker(load_model(place, device=device, dtype=dtype)), place, style=style, repair=repair, scorers=scorers
        )

    def rewrite(
        self,
        question: str,
        answer: str,
        images: Sequence[Source] = (),
        task: str = GENERAL,
        *,
        key: str = "",
        **decoding: Any,
    ) -> PoliteAnswer:
        """Rewrite one answer.

        Args:
            question: What the answer responds to.
            answer: The terse answer; it is taken for true.
            images: Files (their paths), bytes, Pillow images or data URLs.
            task: caption, change, vqa, dialogue, detail, reasoning or text; tells a chat model what kind of answer it
                is, and the filters which of them apply. ``general``: vqa with images, else text.
            key: Names the request; decides, with the seed, its random numbers.
            decoding: Fields of `talk.decoding.Decoding`, e.g. ``max_tokens=64``.

        Raises:
            ImageError: an image cannot be used.
            DataError: a text is empty or fills the context, or there is no such task.
        """
        item = {"question": question, "answer": answer, "images": images, "task": task, "key": key}
        (said,) = self._together([checked_answer(item)], self.place.decoding.but(decoding))
        if said.error:
            raise DataError(said.error, value=question, next_step="ask for less at a time")
        return said

    def rewrite_all(
        self, items: Iterable[Mapping[str, Any]], *, rejects: bool = False, **decoding: Any
    ) -> Iterator[PoliteAnswer]:
        """Rewrite many answers, a batch at a time, as an iterator asks for them; the order is kept.

        Args:
            items: ``{"question": "…", "answer": "…", "images": […], "task": "…"}``; the last two may be left out.
            rejects: True: an item that cannot be used gives a `PoliteAnswer` with its `error`; False: it is raised.
            decoding: As of `rewrite`.
        """
        chosen = self.place.decoding.but(decoding)
        for chunk in chunked(items, CHUNK):
            checked = [_usable(item, rejects) for item in chunk]
            said = iter(self._together([item for item in checked if isinstance(item, RawAnswer)], chosen))
            for item, given in zip(checked, chunk, strict=True):
                answer = next(said) if isinstance(item, RawAnswer) else _lost(given, item)
                if answer.error and not rejects:
                    raise DataError(answer.error, value=given.get("question"), next_step=REJECTS)
                yield answer

    def map(self, batch: Any, **decoding: Any) -> Any:
        """Rewrite a table; for a `pandas.DataFrame`, or for ``Dataset.map(rewriter.map, batched=True)``.

        Args:
            batch: Columns ``question`` and ``answer``, and where there are ``images`` (a list of images, or one) and
                ``task``: a DataFrame, or a mapping of columns to lists as `datasets` gives it.
            decoding: As of `rewrite`.

        Returns:
            What was given, with the columns ``polite``, ``finish_reason``, ``fault`` and ``error`` besides: a new
            DataFrame, or a mapping of the new columns.
        """
        items = rows_of(batch, COLUMNS[:2], COLUMNS[2:])
        said = list(self.rewrite_all(items, rejects=True, **decoding))
        columns = {
            "polite": [answer.text for answer in said],
            "finish_reason": [answer.finish_reason for answer in said],
            "fault": [answer.fault for answer in said],
            "error": [answer.error for answer in said],
        }
        return with_columns(batch, columns)

    def stream(
        self, question: str, answer: str, images: Sequence[Source] = (), task: str = GENERAL, **decoding: Any
    ) -> Generator[str, None, PoliteAnswer]:
        """Pieces of the first try as they come; the arguments are those of `rewrite`.

        The generator's return value (of ``yield from``) is what `rewrite` returns: the first try, or where that shows
        a fault what repair made of it.
        """
        item = checked_answer({"question": question, "answer": answer, "images": images, "task": task})
        backend = _Backend(self.speaker, self.place.decoding.but(decoding), {})
        asked = self._question(item, 0, backend.images)
        ticket = self.speaker.submit(backend.request(asked))
        try:
            yield from ticket
            first = ticket.result()
        finally:
            ticket.cancel()  # where nobody listens any more
        said = Generated(first.text, first.finish_reason, first.tokens)
        (whole,) = RepairingBackend(replace(backend, first=said), self.repair).answer([asked])
        return _polite(item, whole)

    def judge(
        self,
        question: str,
        answer: str,
        polite: str | PoliteAnswer,
        images: Sequence[Source] = (),
        task: str = GENERAL,
    ) -> RewriteJudgement:
        """What the filters would say of a rewrite: every score and verdict (section 4.2, Figure 10).

        Args:
            question: What the answer responds to.
            answer: The terse answer.
            polite: What `rewrite` gave, or any text.
            images: As of `rewrite`.
            task: As of `rewrite`.

        Raises:
            ImageError: an image cannot be used.
            ModelError: a scorer cannot be used; one that is not there is named in `RewriteJudgement.missing`.
        """
        item = checked_answer({"question": question, "answer": answer, "images": images, "task": task})
        said = polite if isinstance(polite, PoliteAnswer) else PoliteAnswer(polite, answer, "stop")
        if self._judge is None:
            self._judge = RewriteJudge.of(self.place, self._scorers, device=self.speaker.device)
        return self._judge.judge(item, said.text, said.finish_reason)

    def close(self) -> None:
        """Let go of the model."""
        self.speaker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _together(self, items: Sequence[RawAnswer], decoding: Decoding) -> list[PoliteAnswer]:
        backend = _Backend(self.speaker, decoding, {})
        questions = [self._question(item, number, backend.images) for number, item in enumerate(items)]
        answers = RepairingBackend(backend, self.repair).answer(questions)
        return [_polite(item, answer) for item, answer in zip(items, answers, strict=True)]

    def _question(self, item: RawAnswer, number: int, images: dict[str, PILImage]) -> RewriteQuestion:
        names = tuple(f"{number}/{name}" for name in names_of(item.pictures))
        images.update(zip(names, item.pictures, strict=True))
        return replace(question_of(item.sample, self._prompts), images=names, key=item.sample.id)


@dataclass(frozen=True, slots=True)
class _Backend:
    """The speaker as a backend of rewriting (`jobs.questions.Backend`); a repair samples, as in the pipeline."""

    speaker: Speaker
    decoding: Decoding
    images: dict[str, PILImage]
    first: Generated | None = None  # the first try, where it was made already
    identity: str = "talk"

    @property
    def batch_size(self) -> int:
        return self.speaker.slots

    def request(self, question: RewriteQuestion) -> EngineRequest:
        """What the model is to continue."""
        again = question.attempt > 0
        key = f"{question.key}!{question.attempt}" if again else question.key
        decoding = self.decoding.sampled if again else self.decoding
        pictures = tuple(self.images[name] for name in question.images)
        return decoding.request(self.speaker.prompt(question), pictures, key)

    def answer(self, questions: Sequence[RewriteQuestion]) -> list[Generated | Failure]:
        """Continue every prompt."""
        if self.first is not None and not any(question.attempt for question in questions):
            return [self.first]
        said = self.speaker.answer([self.request(question) for question in questions])
        return [
            Generated(one.text, one.finish_reason, one.tokens)
            if isinstance(one, Completion)
            else Failure(f"{one.what}: {one.value}")
            for one in said
        ]

    def close(self) -> None:
        """Nothing: the speaker is not this one's."""


def _polite(item: RawAnswer, answer: RewriteAnswer | Failure) -> PoliteAnswer:
    raw = item.sample.response
    if isinstance(answer, Failure):
        return PoliteAnswer(raw, raw, "error", kept_raw=True, error=answer.reason)
    return PoliteAnswer(
        text=answer.text,
        raw=raw,
        finish_reason=answer.finish_reason,
        tokens=answer.tokens,
        attempts=answer.attempts,
        fault=answer.fault,
        kept_raw=answer.raw,
    )


def _usable(item: Mapping[str, Any], rejects: bool) -> RawAnswer | DataError:
    try:
        return checked_answer(item)
    except DataError as error:
        if not rejects:
            raise
        return error


def _lost(given: Mapping[str, Any], error: DataError) -> PoliteAnswer:
    raw = given.get("answer")
    raw = raw if isinstance(raw, str) else ""
    return PoliteAnswer(raw, raw, "error", kept_raw=True, error=error.what)
