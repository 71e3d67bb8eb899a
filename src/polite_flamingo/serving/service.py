"""What the routes do, without the web: models by name, prompts of messages, rewrites."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from polite_flamingo.batching.tickets import EngineRequest, QueueFullError, Ticket
from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.serving.engine_process import ServedEngine
from polite_flamingo.serving.faults import RefusedError
from polite_flamingo.serving.schema import ChatBody, ChatMessage, DecodingFields, RewriteBody, TextPart
from polite_flamingo.serving.settings import ServingLimits, ServingSettings
from polite_flamingo.talk.assistant import Assistant
from polite_flamingo.talk.generation import Speaker
from polite_flamingo.talk.images import ImageLimits, checked_image
from polite_flamingo.talk.judging import RewriteJudge, RewriteJudgement
from polite_flamingo.talk.models import ModelPlace
from polite_flamingo.talk.raw_answers import checked_answer
from polite_flamingo.talk.rewriter import PoliteAnswer, Rewriter

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Rewritten: TypeAlias = tuple[PoliteAnswer, RewriteJudgement | None]
DECODED = ("temperature", "top_p", "top_k", "no_repeat_ngram_size", "seed", "min_tokens")
DECODERS = 2  # images decoded at a time: each may take a hundred megabytes


class ServedModel:
    """A model with its engine.

    Args:
        name: As clients call it.
        place: Where it came from.
        model: What writes its prompts: a `FlamingoReader` or a `ChatModel`.
        engine: What continues them.
        settings: Queue, time.
    """

    def __init__(
        self, name: str, place: ModelPlace, model: Any, engine: ServedEngine, settings: ServingSettings
    ) -> None:
        self.name, self.place, self.model, self.engine = name, place, model, engine
        self._seconds, self._queue = settings.seconds, settings.queue
        self._rewriting = ThreadPoolExecutor(settings.slots, thread_name_prefix="rewrite")
        self._active, self._lock = 0, threading.Lock()

    @property
    def rewrites(self) -> bool:
        """Whether it may be asked to rewrite: a rewriter, or a chat model."""
        return self.place.kind == "rewriter" or self.place.form == "chat"

    @property
    def talks(self) -> bool:
        """Whether it may be asked questions: an assistant, or a chat model."""
        return self.place.kind == "assistant" or self.place.form == "chat"

    def ask(self, request: EngineRequest, client: str) -> EngineRequest:
        """A request as it is submitted: whose it is, and how long it may take."""
        return replace(request, client=client, timeout=self._seconds)

    @cached_property
    def judge(self) -> RewriteJudge:
        """Scorers and filters; loaded when a rewrite is first judged."""
        return RewriteJudge.of(self.place, device=self.engine.device)

    def rewrite(self, work: Callable[[], Any]) -> Any:
        """Run a rewrite in a thread of its own; returns its future.

        Raises:
            QueueFullError: too many wait.
        """
        with self._lock:
            if self._active >= self._queue + self._rewriting._max_workers:
                raise QueueFullError(self._active, 1)
            self._active += 1
        future = self._rewriting.submit(work)
        future.add_done_callback(lambda _: self._ended())
        return future

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Let go of the model."""
        self.engine.close(finish, timeout)
        self._rewriting.shutdown(wait=False, cancel_futures=True)

    def _ended(self) -> None:
        with self._lock:
            self._active -= 1


class ServedSpeaker(Speaker):
    """The voice of one request: it speaks through the model's engine, and can be silenced.

    Args:
        served: The model.
        client: Whose request it is.
    """

    def __init__(self, served: ServedModel, client: str) -> None:
        super().__init__(served.model)
        self._served, self._client = served, client
        self._tickets: list[Ticket] = []
        self._silent = False

    def submit(self, request: EngineRequest) -> Ticket:
        """Queue a request in the model's engine.

        Raises:
            PoliteFlamingoError: it is not taken.
        """
        ticket = self._served.engine.submit(self._served.ask(request, self._client))
        self._tickets.append(ticket)
        if self._silent:
            ticket.cancel()
        return ticket

    def silence(self) -> None:
        """Give up: whoever asked has left."""
        self._silent = True
        for ticket in self._tickets:
            ticket.cancel()


@dataclass(frozen=True, slots=True)
class Service:
    """All models that are served.

    Args:
        models: By name.
        limits: What a request may be.
    """

    models: Mapping[str, ServedModel]
    limits: ServingLimits

    def find(self, name: str | None) -> ServedModel:
        """A model by its name; the only one needs none.

        Raises:
            RefusedError: there is none of that name.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None or name not in self.models:
            known = ", ".join(self.models)
            raise RefusedError(404, f"no such model; served here: {known}", param="model", code="model_not_found")
        return self.models[name]

    def chat(self, body: ChatBody, client: str) -> tuple[ServedModel, list[EngineRequest]]:
        """The engine's requests for a chat completion, one per choice; images are decoded here.

        Raises:
            RefusedError: a limit is passed, or the model answers no questions.
            DataError: the turns are none of a dialogue; an image cannot be used.
        """
        served = self.find(body.model)
        if not served.talks:
            message = f"{served.name} is a rewriter, which answers no question; ask it at /v1/rewrite"
            raise RefusedError(400, message, param="model")
        choices = body.n or 1
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        self._check(len(body.messages), "messages", self.limits.turns, "turns")
        self._check(choices, "n", self.limits.choices, "choices")
        self._check(len(stops), "stop", self.limits.stops, "stop texts")
        texts = [text for message in body.messages for text in _texts(message)]
        self._check(sum(map(len, texts)), "messages", self.limits.text, "characters")
        urls = [url for message in body.messages for url in _urls(message)]
        pictures = iter(self._images(urls, "messages"))
        turns = [_turn(message, pictures) for message in body.messages]
        decoding = {
            **_decoding(body),
            "max_tokens": body.max_completion_tokens or body.max_tokens,
            "stop": stops or None,
        }
        asked = Assistant(ServedSpeaker(served, client), served.place).request(turns, **decoding)
        keys = [asked.key, *(f"{asked.key}#{number}" for number in range(1, choices))]
        return served, [served.ask(replace(asked, key=key), client) for key in keys]

    def rewriter(self, body: RewriteBody, client: str) -> tuple[ServedModel, ServedSpeaker, Callable[[], Rewritten]]:
        """The model, the voice, and the work of a rewrite; images are decoded here.

        Raises:
            RefusedError: a limit is passed, or the model rewrites nothing.
            DataError: an image cannot be used.
        """
        served = self.find(body.model)
        if not served.rewrites:
            raise RefusedError(400, f"{served.name} is an assistant, and rewrites nothing", param="model")
        self._check(len(body.question) + len(body.answer), "question", self.limits.text, "characters")
        pictures = self._images(body.images, "images")
        speaker = ServedSpeaker(served, client)
        rewriter = Rewriter(speaker, served.place)
        decoding = {**_decoding(body), "max_tokens": body.max_tokens}

        def work() -> Rewritten:
            said = rewriter.rewrite(body.question, body.answer, pictures, body.task, key=body.key, **decoding)
            if not body.judge or said.error:
                return said, None
            raw = {"question": body.question, "answer": body.answer, "images": pictures, "task": body.task}
            return said, served.judge.judge(checked_answer(raw), said.text, said.finish_reason)

        return served, speaker, work

    def _images(self, urls: Sequence[str], param: str) -> list[PILImage]:
        """Decoded images of data URLs; their pixels are bounded together."""
        self._check(len(urls), param, self.limits.images, "images")
        pictures: list[PILImage] = []
        room = self.limits.pixels
        for number, url in enumerate(urls, 1):
            if not url[:5].lower() == "data:":
                raise RefusedError(
                    400,
                    "images are sent as data URLs; this server opens no address and no file",
                    param=param,
                    code="invalid_image_url",
                )
            limits = ImageLimits(self.limits.image_bytes, max(room, 1))
            with _DECODING:
                pictures.append(checked_image(url, limits, where=f"image {number}"))
            room -= pictures[-1].width * pictures[-1].height
        return pictures

    def _check(self, count: int, param: str, most: int, what: str) -> None:
        if count > most:
            raise RefusedError(400, f"too many {what}: {count} (at most {most})", param=param, code="limit_exceeded")


_DECODING = threading.BoundedSemaphore(DECODERS)


def public_name(place: ModelPlace) -> str:
    """What clients call a model: no path of this machine."""
    if place.name.startswith("models:/"):
        return place.name.removeprefix("models:/")
    name = place.name.removeprefix("hf:")
    return Path(name).resolve().name if Path(name).is_dir() else name


def served_models(
    loaded: Sequence[tuple[ModelPlace, Any, ServedEngine]], settings: ServingSettings
) -> dict[str, ServedModel]:
    """Models with what writes their prompts and their engines, by the name that clients call them.

    Raises:
        ConfigError: two have one name.
    """
    names = [public_name(place) for place, _, _ in loaded]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError("two models have the same name", value=twice, next_step=did_you_mean(twice, names))
    return {name: ServedModel(name, *parts, settings) for name, parts in zip(names, loaded, strict=True)}


def _decoding(body: DecodingFields) -> dict[str, Any]:
    """What the client says of decoding; who samples without a seed gets a new one each time."""
    values = {name: getattr(body, name) for name in DECODED}
    if values["seed"] is None and values["temperature"]:
        values["seed"] = secrets.randbelow(1 << 31)
    return values


def _texts(message: ChatMessage) -> list[str]:
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content if isinstance(part, TextPart)]


def _urls(message: ChatMessage) -> list[str]:
    if isinstance(message.content, str):
        return []
    return [part.image_url.url for part in message.content if not isinstance(part, TextPart)]


def _turn(message: ChatMessage, pictures: Any) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    images = [next(pictures) for _ in _urls(message)]
    return {"role": role, "content": "\n".join(_texts(message)), "images": images}
