"""A loaded model that answers: a Flamingo and a chat model of text by the engine of continuous batching, a chat model
that sees one request at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel, TextModel
from polite_flamingo.batching.text import TextStream
from polite_flamingo.batching.tickets import (
    Completion,
    EngineClosedError,
    EngineRequest,
    PromptTooLongError,
    RequestCancelledError,
    Ticket,
)
from polite_flamingo.errors import ModelError, PoliteFlamingoError

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.chat_model import ChatModel
    from polite_flamingo.jobs.backends.text import TextQuestion
    from polite_flamingo.model.bundle import FlamingoBundle

SLOTS = 16


class Speaker:
    """A loaded model; threads may share it.

    Args:
        model: A Flamingo or a chat model.
        slots: Most requests decoded together.
    """

    def __init__(self, model: FlamingoBundle | ChatModel, slots: int = SLOTS) -> None:
        self.model: Any = model
        self.slots = slots
        self._starting = threading.Lock()
        self._engine: Engine | OneByOne | None = None

    @property
    def is_flamingo(self) -> bool:
        """Whether it continues prompts of the paper; else it is a chat model with a template of its own."""
        return hasattr(self.model, "media_token_id")

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.is_flamingo or self.model.sees

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.model.device if self.is_flamingo else self.model.model.device)

    @property
    def engine(self) -> Engine | OneByOne:
        """What its requests go to; it starts when it is first asked for, and is the model's only user from then on."""
        with self._starting:
            if self._engine is None:
                self._engine = self._start()
            return self._engine

    def _start(self) -> Engine | OneByOne:
        if self.is_flamingo:
            return Engine(FlamingoModel(self.model), slots=self.slots)
        try:
            return Engine(TextModel(self.model), slots=self.slots)
        except ModelError:  # it sees, or its layers do not all attend to everything
            return OneByOne(self.model)

    def prompt(self, question: TextQuestion) -> str:
        """The text that the model continues; special tokens within the question are taken apart.

        Raises:
            ModelError: there are images, and the model reads text alone.
        """
        from polite_flamingo.model.tokens import plain

        if self.is_flamingo:
            return question.prompt(partial(plain, self.model.tokenizer))
        if question.images and not self.sees:
            raise ModelError(
                "this model reads text alone",
                value=f"{len(question.images)} images",
                next_step="ask without images, or name a model that sees",
            )
        return str(self.model.prompt(question))

    def submit(self, request: EngineRequest) -> Ticket:
        """Queue a request; its ticket gives the text piece by piece, or whole.

        Raises:
            PromptTooLongError: no room is left to answer.
        """
        return self.engine.submit(request)

    def answer(self, requests: Sequence[EngineRequest]) -> list[Completion | PromptTooLongError]:
        """Continue every prompt; results in order, an error where a prompt leaves no room."""
        results: list[Completion | PromptTooLongError] = []
        waiting: deque[Ticket | PromptTooLongError] = deque()
        try:
            for request in requests:
                if len(waiting) >= 2 * self.slots:
                    results.append(_result(waiting.popleft()))
                try:
                    waiting.append(self.submit(request))
                except PromptTooLongError as error:
                    waiting.append(error)
            while waiting:
                results.append(_result(waiting.popleft()))
        finally:
            for left in waiting:  # whoever asked was interrupted
                if isinstance(left, Ticket):
                    left.cancel()
        return results

    def close(self) -> None:
        """Let go of the model; what is still asked fails."""
        if self._engine is not None:
            self._engine.close(finish=False)


class OneByOne:
    """A chat model without continuous batching: requests take turns, each in a thread of its own.

    Args:
        chat: The model.
    """

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._turn = threading.Lock()
        self._closed = False

    def submit(self, request: EngineRequest) -> Ticket:
        """Queue a request.

        Raises:
            EngineClosedError: no more requests are taken.
            PromptTooLongError: no room is left to answer.
        """
        if self._closed:
            raise EngineClosedError("the model was let go of")
        inputs = self._chat.inputs([request.prompt], [request.images])
        length = int(inputs["input_ids"].shape[1])
        if length >= self._chat.context:
            raise PromptTooLongError(
                "the prompt fills the model's context",
                value=f"{length} tokens of {self._chat.context}",
                next_step="send less text, or fewer turns",
            )
        ticket = Ticket(request, length)
        threading.Thread(target=self._run, args=(ticket, inputs), name="chat model", daemon=True).start()
        return ticket

    def close(self, finish: bool = True) -> None:
        """Take no more requests.

        Args:
            finish: True: wait for those that were taken.
        """
        self._closed = True
        if finish:
            with self._turn:
                pass

    def _run(self, ticket: Ticket, inputs: Any) -> None:
        try:
            with self._turn:
                if ticket.cancelled:
                    raise RequestCancelledError("whoever asked has left")
                self._generate(ticket, inputs)
        except PoliteFlamingoError as error:
            ticket.finish(error)
        except Exception as error:
            ticket.finish(ModelError("the model failed", value=f"{type(error).__name__}: {error}"))

    def _generate(self, ticket: Ticket, inputs: Any) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        from polite_flamingo.jobs.backends.row_noise import RowNoise

        chat, settings = self._chat, ticket.request.settings
        inputs = inputs.to(chat.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(chat.model.dtype)
        config = GenerationConfig(
            max_new_tokens=min(settings.max_new_tokens, chat.context - ticket.prompt_tokens),
            do_sample=False,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
            pad_token_id=chat.tokenizer.pad_token_id,
            eos_token_id=sorted(chat.ends),
        )
        name = f"{settings.seed}:{ticket.request.key}:generate"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) if settings.do_sample else None
        noise = RowNoise([seed], settings.temperature, settings.top_k, settings.top_p)
        listener = _Listener(ticket, chat)
        with torch.inference_mode():
            chat.model.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([noise]),
                stopping_criteria=StoppingCriteriaList([listener.over]),
                streamer=listener,
            )
        listener.finish()


class _Listener:
    """Gets a generation's tokens as they come (transformers' streamer), and says when it is over."""

    def __init__(self, ticket: Ticket, chat: ChatModel) -> None:
        self._ticket, self._chat = ticket, chat
        self._stream = TextStream(chat.tokenizer, self._decode, ticket.request.stop)
        self._tokens: list[int] | None = None  # None: the prompt comes first

    def put(self, tokens: Any) -> None:
        """The prompt, then a token at a time."""
        if self._tokens is None:
            self._tokens = []
            return
        new = [token for token in tokens.tolist() if token not in self._chat.ends]
        self._tokens += tokens.tolist()
        self._ticket.add(self._stream.push(new))
        self._ticket.tell()

    def end(self) -> None:
        """No more tokens come."""

    def over(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row has ended, beyond its own end (transformers' stopping criterion)."""
        import torch

        return torch.full((len(input_ids),), self._stream.stopped or self._ticket.cancelled, device=input_ids.device)

    def finish(self) -> None:
        """Tell the whole.

        Raises:
            RequestCancelledError: nobody wants it any more.
        """
        if self._ticket.cancelled:
            raise RequestCancelledError("whoever asked has left")
        tokens = self._tokens or []
        ended = bool(tokens) and tokens[-1] in self._chat.ends
        kept = tokens[:-1] if ended else tokens
        text, rest = self._stream.close(kept)
        reason = "stop" if ended or self._stream.stopped else "length"
        self._ticket.add(rest)
        self._ticket.finish(Completion(text, reason, self._ticket.prompt_tokens, len(kept)))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._chat.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def _result(waiting: Ticket | PromptTooLongError) -> Completion | PromptTooLongError:
    return waiting if isinstance(waiting, PromptTooLongError) else waiting.result()
