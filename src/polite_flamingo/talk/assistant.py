"""The assistant: questions about images, in one turn or several (appendix A)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from polite_flamingo.batching.tickets import Completion, EngineRequest
from polite_flamingo.errors import DataError, PoliteFlamingoError
from polite_flamingo.io.chunks import chunked
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Turn
from polite_flamingo.talk.generation import Speaker
from polite_flamingo.talk.images import Source, own_image
from polite_flamingo.talk.models import PARAMS, ModelPlace, find_model, load_model
from polite_flamingo.talk.tables import CHUNK, rows_of, with_columns

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from polite_flamingo.jobs.backends.text import Message

QUARTER = 4
ROLES = {"user": "human", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class AssistantAnswer:
    """What the assistant said.

    Args:
        text: The answer.
        finish_reason: "stop", or "length" where it was cut off.
        prompt_tokens: Tokens of all it was shown.
        completion_tokens: Tokens of the answer.
        error: Why there is no answer, of an item of `Assistant.ask_all`; else empty.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns with their images, in the forms that the kinds of models take (`jobs.backends.text.TextQuestion`).

    Args:
        turns: human, assistant, …, human; images are numbers of `pictures`.
        pictures: All images, in order.
        end: The token that closed every answer in training, of a Flamingo.
        system: Said before the first turn to a chat model; a Flamingo knows but its own.
    """

    turns: tuple[Turn, ...]
    pictures: tuple[PILImage, ...] = ()
    end: str = ""
    system: str = ""
    key: str = ""
    attempt: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """A name per image."""
        return tuple(map(str, range(len(self.pictures))))

    @property
    def size(self) -> int:
        """Characters of the turns."""
        return sum(len(turn.text) for turn in self.turns)

    def content(self) -> Any:
        """The turns."""
        return [[turn.role, turn.text, turn.images] for turn in self.turns]

    def messages(self) -> Sequence[Message]:
        """Chat messages; the images of a turn stand before its text."""
        names = {ours: theirs for theirs, ours in ROLES.items()}
        spoken: list[Message] = [
            {
                "role": names[turn.role],
                "content": [*({"type": "image"} for _ in turn.images), {"type": "text", "text": turn.text}],
            }
            for turn in self.turns
        ]
        return (
            [{"role": "system", "content": [{"type": "text", "text": self.system}]}, *spoken] if self.system else spoken
        )

    def prompt(self, plain: Callable[[str], str]) -> str:
        """The prompt that the assistant was trained on."""
        turns = [Turn(turn.role, plain(turn.text), turn.images) for turn in self.turns]
        return assistant_prompt(turns, end=self.end)


class Assistant:
    """A model that answers questions about images.

    Args:
        speaker: The loaded model.
        place: Where it came from.
    """

    def __init__(self, speaker: Speaker, place: ModelPlace) -> None:
        self.speaker, self.place = speaker, place

    @classmethod
    def load(
        cls,
        name: str | Path = "stage3",
        *,
        base: str | Path | None = None,
        profile: str | None = None,
        params: Path = PARAMS,
        device: str = "auto",
        dtype: str | None = None,
    ) -> Self:
        """Load an assistant.

        Args:
            name: ``stage1`` … ``stage3`` or ``raw`` of a profile, a folder, ``hf:<folder or id@revision>``, or
                ``models:/polite-flamingo-assistant@champion``.
            base: Folder of the Flamingo that a folder's weights were trained from; None: found beside it.
            profile: Of the trained ones; None: that of params.yaml, else tiny.
            params: The project's params file; it need not be there.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
            dtype: ``float32``, ``bfloat16`` or ``float16``; None: the profile's, else float32.

        Raises:
            ConfigError: there is no such model, or it is a rewriter.
            ModelError: its weights cannot be used.
        """
        place = find_model(name, "assistant", base=base, profile=profile, params=params)
        return cls(Speaker(load_model(place, device=device, dtype=dtype)), place)

    def ask(self, question: str, images: Sequence[Source] = (), **decoding: Any) -> AssistantAnswer:
        """Answer a question.

        Args:
            question: The question.
            images: Files (their paths), bytes, Pillow images or data URLs.
            decoding: Fields of `talk.decoding.Decoding`, e.g. ``temperature=0.7``.

        Raises:
            ImageError: an image cannot be used.
            DataError: the question is empty.
            PromptTooLongError: it fills the context.
        """
        return self.chat([{"role": "user", "content": question, "images": images}], **decoding)

    def chat(self, turns: Sequence[Mapping[str, Any]], **decoding: Any) -> AssistantAnswer:
        """Answer the last turn of a dialogue.

        Args:
            turns: ``{"role": "user" | "assistant", "content": "…", "images": […]}``; the last one is the user's.
            decoding: As of `ask`.

        Raises:
            ImageError: an image cannot be used.
            DataError: the turns are none of a dialogue.
            PromptTooLongError: they fill the context.
        """
        (said,) = self.speaker.answer([self.request(turns, **decoding)])
        return _answer(said)

    def stream(self, turns: Sequence[Mapping[str, Any]], **decoding: Any) -> Generator[str, None, AssistantAnswer]:
        """Pieces of the answer to the last turn as they come; `chat` describes the turns.

        The generator's return value (of ``yield from``) is the whole as an `AssistantAnswer`.
        """
        ticket = self.speaker.submit(self.request(turns, **decoding))
        try:
            yield from ticket
            return _answer(ticket.result())
        finally:
            ticket.cancel()  # where nobody listens any more

    def ask_all(
        self, items: Iterable[Mapping[str, Any]], *, rejects: bool = False, **decoding: Any
    ) -> Iterator[AssistantAnswer]:
        """Answer many questions, a batch at a time, as an iterator asks for them; the order is kept.

        Args:
            items: ``{"question": "…", "images": […]}``; images may be left out.
            rejects: True: an item that cannot be used gives an answer with its `error`; False: it is raised.
            decoding: As of `ask`.
        """
        for chunk in chunked(items, CHUNK):
            asked = [self._asked(item, rejects, decoding) for item in chunk]
            said = iter(self.speaker.answer([request for request in asked if isinstance(request, EngineRequest)]))
            for request in asked:
                answer = next(said) if isinstance(request, EngineRequest) else request
                if isinstance(answer, PoliteFlamingoError) and rejects:
                    yield AssistantAnswer("", "error", 0, 0, answer.what)
                else:
                    yield _answer(answer)

    def map(self, batch: Any, **decoding: Any) -> Any:
        """Answer a table; for a `pandas.DataFrame`, or for ``Dataset.map(assistant.map, batched=True)``.

        Args:
            batch: Column ``question``, and where there are ``images`` (a list of images, or one).
            decoding: As of `ask`.

        Returns:
            What was given, with the columns ``answer``, ``finish_reason`` and ``error`` besides: a new DataFrame, or a
            mapping of the new columns.
        """
        said = list(self.ask_all(rows_of(batch, ("question",), ("images",)), rejects=True, **decoding))
        columns = {
            "answer": [answer.text for answer in said],
            "finish_reason": [answer.finish_reason for answer in said],
            "error": [answer.error for answer in said],
        }
        return with_columns(batch, columns)

    def _asked(
        self, item: Mapping[str, Any], rejects: bool, decoding: Mapping[str, Any]
    ) -> EngineRequest | PoliteFlamingoError:
        turn = {"role": "user", "content": item.get("question"), "images": item.get("images") or ()}
        try:
            return self.request([turn], **decoding)
        except DataError as error:
            if not rejects:
                raise
            return error

    def request(self, turns: Sequence[Mapping[str, Any]], *, key: str = "", **decoding: Any) -> EngineRequest:
        """What the model is to continue for a dialogue; `chat` describes it.

        Args:
            turns: The dialogue; a first turn with the role ``system`` goes to chat models alone.
            key: Names the request; decides, with the seed, its random numbers.
            decoding: Fields of `Decoding` that replace the model's own.
        """
        end = self.speaker.model.tokenizer.eos_token if self.speaker.is_flamingo else ""
        dialogue = dialogue_of(turns, end=end)
        chosen = self.place.decoding.but(decoding)
        return chosen.request(self.speaker.prompt(dialogue), dialogue.pictures, key)

    def recent(self, turns: Sequence[Mapping[str, Any]], **decoding: Any) -> list[dict[str, Any]]:
        """The end of a dialogue that leaves the model room to answer: the oldest questions and answers are left out.

        Room is what an answer may be long, at most a quarter of the context. The last question is never left out.

        Args:
            turns: The dialogue; see `chat`.
            decoding: As of `ask`.
        """
        first = [dict(turn) for turn in turns[:1] if turn.get("role") == "system"]
        spoken = [dict(turn) for turn in turns[len(first) :]]
        engine = self.speaker.engine
        while len(spoken) > 2:
            asked = self.request([*first, *spoken], **decoding)
            room = min(asked.settings.max_new_tokens, engine.context // QUARTER)
            if engine.count(asked.prompt, asked.images) + room <= engine.context:
                break
            spoken = spoken[2:]
        return [*first, *spoken]

    def close(self) -> None:
        """Let go of the model."""
        self.speaker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def dialogue_of(turns: Sequence[Mapping[str, Any]], *, end: str = "") -> Dialogue:
    """Turns as people write them, checked; their images are decoded.

    Args:
        turns: See `Assistant.chat`.
        end: The tokenizer's end-of-sequence token.

    Raises:
        DataError: a role, a text or the order of the turns is wrong.
        ImageError: an image cannot be used.
    """
    system = ""
    spoken = list(turns)
    if spoken and spoken[0].get("role") == "system":
        system = _text(spoken.pop(0), 0)
    pictures: list[PILImage] = []
    checked: list[Turn] = []
    for number, turn in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if turn.get("role") != expected:
            raise DataError(
                "turns must alternate user, assistant, and begin and end with the user",
                value=turn.get("role"),
                where=f"turn {number + 1}",
                next_step=f"make it {expected}",
            )
        images = list(turn.get("images") or ())
        if images and expected == "assistant":
            raise DataError("the assistant shows no images", value=len(images), where=f"turn {number + 1}")
        first = len(pictures)
        pictures += [own_image(image) for image in images]
        checked.append(Turn(ROLES[expected], _text(turn, number + 1), tuple(range(first, len(pictures)))))
    if not checked or checked[-1].role != "human":
        raise DataError(
            "a dialogue ends with what the user asks", value=len(checked), next_step="add a turn of the user"
        )
    return Dialogue(tuple(checked), tuple(pictures), end=end, system=system)


def _answer(said: Completion | PoliteFlamingoError) -> AssistantAnswer:
    if isinstance(said, PoliteFlamingoError):
        raise said
    return AssistantAnswer(said.text, said.finish_reason, said.prompt_tokens, said.tokens)


def _text(turn: Mapping[str, Any], number: int) -> str:
    text = turn.get("content")
    if not isinstance(text, str) or not text.strip():
        raise DataError("a turn has no text", value=text, where=f"turn {number}", next_step="write something")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("text holds half a character (a lone surrogate)", where=f"turn {number}") from None
    return text
