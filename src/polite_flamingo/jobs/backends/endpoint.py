"""Any OpenAI-compatible ``/chat/completions`` endpoint: vLLM, llama.cpp, a vendor.

Requests run side by side up to a bound. What may pass (time-outs, cut connections, 408, 409, 425, 429, 5xx, answers
that are not the protocol's) is tried again with growing pauses; a ``Retry-After`` holds back every request. What
concerns one record alone (400, 413, 422, a content filter) becomes that record's error. What concerns all of them (401,
402, 403, 404, redirects, an endpoint that has stopped answering) ends the call with a `ModelError`; answers that came
before are kept in the cache on disk, under the content hash of what was asked.

The protocol has no beams, no top-k, no n-gram rule and no length penalty: these settings are not sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ImageError, ModelError, hide, keep_secret
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.backends.answer_cache import AnswerCache
from polite_flamingo.jobs.backends.chat_client import ChatClient, EndpointDownError
from polite_flamingo.jobs.backends.chat_completion import (
    ChatImage,
    ChatRequest,
    PassingError,
    RecordError,
    Reply,
    check_url,
    content_of,
)
from polite_flamingo.jobs.backends.chat_images import ChatImages
from polite_flamingo.jobs.backends.event_loop import EventLoop
from polite_flamingo.jobs.backends.text import TextQuestion
from polite_flamingo.jobs.backends.usage import Usage
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import EndpointSettings

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated

LOG = logging.getLogger(__name__)

_SENT = {"max_new_tokens", "do_sample", "temperature", "top_p", "seed"}


class EndpointBackend:
    """An endpoint behind the backends' protocol.

    It runs its own event loop in a thread, so it can be called from anywhere, also from several threads: the bound on
    concurrency holds over all calls.

    Args:
        url: Base url, ``https://host/v1``.
        model: Model name the endpoint knows.
        settings: Decoding; ``max_new_tokens``, ``do_sample``, ``temperature``, ``top_p`` and ``seed`` count.
        image_root: Folder of the image paths.
        key: Bearer token; None: no authorisation header. It is never hashed or written, and masked wherever
            an endpoint repeats it.
        endpoint: Bounds, pauses and prices.
        cache: Folder of answers by content hash; None: nothing is kept.
        schema: JSON schema of the answers; one that knows no ``response_format`` is asked without it.

    Raises:
        ConfigError: the url is not one, or carries a password, query or fragment.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: GenerationSettings,
        image_root: Path,
        *,
        key: str | None = None,
        endpoint: EndpointSettings | None = None,
        cache: Path | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self._url = check_url(url, sends_key=key is not None)
        self._model = model
        self._settings = settings
        self._key = key
        keep_secret(key)
        self._options = endpoint or EndpointSettings()
        self._cache = AnswerCache(cache)
        self._schema = schema
        self._failed_in_a_row = 0
        self._lock = threading.Lock()
        self._runner: EventLoop | None = None
        self._client: ChatClient | None = None
        self._slots: asyncio.Semaphore | None = None
        self._asked: set[Future[list[Generated | Failure]]] = set()
        self._images = ChatImages(image_root, edge=self._options.image_edge, most_bytes=self._options.image_bytes)
        self.usage = Usage()
        self.calls_at_once = 2  # so that one is answered while another one is written down
        self.batch_size = 4 * self._options.concurrency  # slow answers hold up the end of a batch only
        sent = settings.model_dump(include=_SENT)
        images = [self._options.image_edge, self._options.image_bytes]
        self.identity = fingerprint("openai", self._url, model, sent, images)

    def __repr__(self) -> str:
        return f"EndpointBackend(url={self._url!r}, model={self._model!r})"

    def answer(self, questions: Sequence[TextQuestion]) -> list[Generated | Failure]:
        """Ask for every answer; see the module's text for what becomes of failures."""
        future = asyncio.run_coroutine_threadsafe(self._all(questions), self._start().loop)
        self._asked.add(future)
        try:
            return future.result()
        except CancelledError:
            raise ModelError("the backend was closed", where=self._url) from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._asked.discard(future)

    def close(self) -> None:
        """End what is still asked for, close connections and thread, and log what was used."""
        with self._lock:
            runner, self._runner = self._runner, None
            if runner is None:
                return
            for future in list(self._asked):
                future.cancel()
            if self._client is not None:
                asyncio.run_coroutine_threadsafe(self._client.close(), runner.loop).result()
            self._client = self._slots = None
            runner.stop()
            self._cache.close()
        LOG.info("%s (%s): %s", self._model, self._url, self.usage)

    def _start(self) -> EventLoop:
        with self._lock:
            if self._runner is None:
                runner = EventLoop()
                try:
                    self._client = asyncio.run_coroutine_threadsafe(self._connect(), runner.loop).result()
                except BaseException:
                    runner.stop()
                    raise
                self._slots = asyncio.Semaphore(self._options.concurrency)
                self._runner = runner
            return self._runner

    async def _connect(self) -> ChatClient:
        """A client that belongs to the running loop."""
        return ChatClient(self._url, self._key, self._options, self.usage)

    async def _all(self, questions: Sequence[TextQuestion]) -> list[Generated | Failure]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(question)) for question in questions]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _answer(self, question: TextQuestion) -> Generated | Failure:
        """One question, from image to text; it holds its slot while it pauses, which eases an endpoint in trouble."""
        from polite_flamingo.records import Generated

        assert self._slots is not None and self._client is not None
        async with self._slots:
            await asyncio.sleep(0)  # an error that ends the call, raised where the slot was freed, comes first
            try:
                request = self._request(question, await self._images.get(question.images))
            except ImageError as error:
                self.usage.failed += 1
                return Failure(f"error: {error.what}")
            name = hashlib.sha256(b"%b\n%b" % (self._url.encode(), request.named)).hexdigest()
            reply = self._cache.recall(name)
            if reply is not None:
                self.usage.recall(reply)
                return Generated(reply.text, reply.finish_reason, reply.completion_tokens or 0)
            started = time.monotonic()
            try:
                reply = await self._client.ask(request)
            except (PassingError, RecordError) as error:
                if isinstance(error, RecordError):
                    self.usage.spend(error.spent, self._options.price_in, self._options.price_out)
                self._count_failure(error)
                return Failure(hide(f"error: {error}"))
            self._count(reply)
            self.usage.seconds += time.monotonic() - started
            self._cache.remember(name, reply)
            return Generated(reply.text, reply.finish_reason, reply.completion_tokens or 0)

    def _count(self, reply: Reply) -> None:
        self._failed_in_a_row = 0
        self.usage.add(reply, self._options.price_in, self._options.price_out)

    def _count_failure(self, error: Exception) -> None:
        """Raise where it is the endpoint that fails and not the record."""
        self.usage.failed += 1
        self._failed_in_a_row += 1
        LOG.warning("%s: a request failed: %s", self._url, error)
        gone = isinstance(error, PassingError) and error.gone
        if gone or self._failed_in_a_row >= self._options.give_up_after:
            kind, what = ModelError, f"endpoint has refused {self._failed_in_a_row} requests in a row"
            if isinstance(error, PassingError):
                kind, what = EndpointDownError, "endpoint does not answer"
            raise kind(
                what,
                value=str(error),
                where=self._url,
                next_step="mend it and start again: what was answered is kept",
            ) from None

    def _request(self, question: TextQuestion, images: Sequence[ChatImage]) -> ChatRequest:
        settings, shown = self._settings, iter(images)
        sampled = settings.do_sample or question.attempt > 0
        seed = hashlib.sha256(f"{settings.seed}:{question.key}:{question.attempt}:generate".encode()).digest()
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m["role"], "content": content_of(m["content"], shown)} for m in question.messages()],
            "seed": int.from_bytes(seed[:4]) >> 1,
        }
        if self._schema is not None:
            named = {"name": "answer", "strict": True, "schema": dict(self._schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return ChatRequest({**body, **sent(settings, sampled)}, images)


def sent(settings: GenerationSettings, sampled: bool | None = None) -> dict[str, Any]:
    """What a request says of decoding, besides the seed of its record.

    Args:
        settings: Decoding.
        sampled: Whether this request samples, as one that repairs does; None: as the settings say.
    """
    if not (settings.do_sample if sampled is None else sampled):
        return {"max_tokens": settings.max_new_tokens, "temperature": 0.0}
    top_p = {"top_p": settings.top_p} if settings.top_p < 1.0 else {}
    return {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature, **top_p}
