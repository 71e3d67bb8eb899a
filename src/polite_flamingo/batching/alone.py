"""A chat model that cannot be batched continuously (it sees images, say): the same requests, one at a time."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from polite_flamingo.batching.engine import QUEUE, SLOTS, Engine, EngineState
from polite_flamingo.batching.models import TextModel
from polite_flamingo.batching.text import TextStream
from polite_flamingo.batching.tickets import (
    EngineClosedError,
    EngineRequest,
    PromptTooLongError,
    QueueFullError,
    Ticket,
)
from polite_flamingo.batching.turns import PATIENCE, FairQueue, Pace
from polite_flamingo.errors import DataError, ModelError, PoliteFlamingoError
from polite_flamingo.jobs.backends.chat_model import ChatModel

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

LOG = logging.getLogger(__name__)


class OneAtATime:
    """Requests to a chat model in turns, by a thread that owns it; as an `Engine` with a single slot.

    Args:
        chat: The model.
        queue: Most requests waiting; each keeps its decoded images.
    """

    def __init__(self, chat: ChatModel, *, queue: int = QUEUE) -> None:
        self._chat, self._queue = chat, queue
        self.context, self.device = chat.context, str(chat.model.device)
        self._waiting: FairQueue[Ticket] = FairQueue()
        self._running: Ticket | None = None
        self._changed = threading.Condition()
        self._preparing = threading.Lock()
        self._closing = self._abandoned = False
        self._pace = Pace()
        self._counts = {"steps": 0, "prompt_tokens": 0, "tokens": 0, "out_of_memory": 0}
        self._thread = threading.Thread(target=self._run, name="chat model", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, notify: Callable[[], None] | None = None) -> Ticket:
        """Queue a request.

        Args:
            request: What to continue.
            notify: Called, in the model's thread, whenever the ticket has something new.

        Raises:
            QueueFullError: the queue is full.
            EngineClosedError: no more requests are taken.
            PromptTooLongError: no room is left to answer.
            DataError: the prompt and its images do not fit.
        """
        self._admit()  # before the work of preparing it
        length = self.count(request.prompt, request.images)
        if length >= self.context:
            raise PromptTooLongError(length, self.context)
        ticket = Ticket(request, length, notify)
        with self._changed:
            self._admit()
            self._waiting.put(request.client, ticket)
            self._changed.notify_all()
        return ticket

    def count(self, prompt: str, images: Sequence[PILImage]) -> int:
        """Tokens of a prompt."""
        return int(self._inputs(prompt, images)["input_ids"].shape[1])

    @property
    def state(self) -> EngineState:
        """What it is doing now."""
        with self._changed:
            return EngineState(int(self._running is not None), len(self._waiting), 1, **self._counts)

    @property
    def alive(self) -> bool:
        """True while its thread runs and takes requests."""
        return self._thread.is_alive() and not self._closing

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Take no more requests and end.

        Args:
            finish: True: what was taken is finished first; False: it fails with `EngineClosedError`.
            timeout: Seconds after which what is left fails too; None: no bound.
        """
        with self._changed:
            self._closing = True
            self._abandoned = self._abandoned or not finish
            self._changed.notify_all()
        self._thread.join(timeout)
        self._abandoned = True
        self._thread.join(PATIENCE)

    def fault(self, ticket: Ticket) -> PoliteFlamingoError | None:
        """Why a request is not to go on."""
        return ticket.fault or (EngineClosedError(taken=True) if self._abandoned else None)

    def _admit(self) -> None:
        self._let_go()
        if not self.alive:
            raise EngineClosedError
        if len(self._waiting) >= self._queue:
            raise QueueFullError(len(self._waiting), self._pace.wait(len(self._waiting), 1))

    def _let_go(self) -> None:
        """Tell those that wait in vain."""
        with self._changed:
            gone = self._waiting.drop(lambda ticket: self.fault(ticket) is not None)
        for ticket in gone:
            if (fault := self.fault(ticket)) is not None:
                ticket.finish(fault)

    def _inputs(self, prompt: str, images: Sequence[PILImage]) -> Any:
        if images and not self._chat.sees:
            raise DataError("this model reads text alone", value=f"{len(images)} images")
        with self._preparing:  # a tokenizer is not made for several threads
            return self._chat.inputs([prompt], [images])

    def _run(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                self._generate(ticket)
            except PoliteFlamingoError as error:
                ticket.finish(error)
            except Exception as error:
                LOG.error("a request failed", exc_info=error)
                ticket.finish(ModelError("the model failed", value=type(error).__name__))
            with self._changed:
                self._running = None
                self._pace.ended(time.monotonic() - ticket.submitted)
        with self._changed:
            left = self._waiting.drop(lambda _: True)
        for ticket in left:
            ticket.finish(EngineClosedError(taken=True))

    def _next(self) -> Ticket | None:
        """The next request; None: it is over."""
        with self._changed:
            while not len(self._waiting) and not self._closing:
                self._changed.wait()
            if self._abandoned or not len(self._waiting):
                return None
            self._running = self._waiting.take()
            return self._running

    def _generate(self, ticket: Ticket) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        from polite_flamingo.jobs.backends.row_noise import RowNoise

        fault = self.fault(ticket)
        if fault is not None:
            raise fault
        chat, settings = self._chat, ticket.request.settings
        inputs = self._inputs(ticket.request.prompt, ticket.request.images).to(chat.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(chat.model.dtype)
        config = GenerationConfig(
            max_new_tokens=min(settings.max_new_tokens, chat.context - ticket.prompt_tokens),
            min_new_tokens=ticket.request.min_tokens or None,
            do_sample=False,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
            pad_token_id=chat.tokenizer.pad_token_id,
            eos_token_id=sorted(chat.ends),
        )
        name = f"{settings.seed}:{ticket.request.key}:generate"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) if settings.do_sample else None
        noise = RowNoise([seed], settings.temperature, settings.top_k, settings.top_p)
        listener = _Listener(self, ticket, chat)
        self._counts["prompt_tokens"] += ticket.prompt_tokens
        with torch.inference_mode():
            chat.model.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([noise]),
                stopping_criteria=StoppingCriteriaList([listener.over]),
                streamer=listener,
            )
        listener.finish()

    def counted(self, tokens: int) -> None:
        """Of the listener: tokens came."""
        self._counts["tokens"] += tokens
        self._counts["steps"] += 1
        self._let_go()


AnyEngine: TypeAlias = Engine | OneAtATime


def chat_engine(chat: ChatModel, *, slots: int = SLOTS, queue: int = QUEUE, alone: int = QUEUE) -> AnyEngine:
    """The engine of a chat model: continuous batching where it can be.

    Args:
        chat: The model.
        slots: Most requests at a time.
        queue: Most requests waiting.
        alone: The same of a model that takes one at a time.
    """
    try:
        batched = TextModel(chat)
    except ModelError:  # it sees, or its layers do not all attend to everything
        return OneAtATime(chat, queue=alone)
    return Engine(batched, slots=slots, queue=queue)


class _Listener:
    """Gets a generation's tokens as they come (transformers' streamer), and says when it is over."""

    def __init__(self, engine: OneAtATime, ticket: Ticket, chat: ChatModel) -> None:
        self._engine, self._ticket, self._chat = engine, ticket, chat
        self._stream = TextStream(chat.tokenizer, self._decode, ticket.request.stop)
        self._tokens: list[int] | None = None  # None: the prompt comes first

    def put(self, tokens: Any) -> None:
        """The prompt, then a token at a time."""
        if self._tokens is None:
            self._tokens = []
            return
        came = tokens.tolist()
        self._ticket.first_token = self._ticket.first_token or time.monotonic()
        self._tokens += came
        self._engine.counted(len(came))
        self._ticket.add(self._stream.push([token for token in came if token not in self._chat.ends]))
        self._ticket.tell()

    def end(self) -> None:
        """No more tokens come."""

    def over(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row has ended, beyond its own end (transformers' stopping criterion)."""
        import torch

        stopped = self._stream.stopped or self._engine.fault(self._ticket) is not None
        return torch.full((len(input_ids),), stopped, device=input_ids.device)

    def finish(self) -> None:
        """Tell the whole.

        Raises:
            PoliteFlamingoError: nobody wants it any more, or it took too long.
        """
        fault = self._engine.fault(self._ticket)
        if fault is not None:
            raise fault
        self._ticket.complete(self._stream, self._tokens or [], self._chat.ends)

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._chat.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()
