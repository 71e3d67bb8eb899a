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
import json
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.io import fingerprint
from polite_flamingo.jobs.backends.chat_completion import (
    KEY_VARIABLE,
    PassingError,
    RecordError,
    Reply,
    check_url,
    content_of,
    image_url,
    parse,
    retry_after,
)
from polite_flamingo.jobs.backends.event_loop import EventLoop
from polite_flamingo.jobs.backends.kept_answers import KeptAnswers
from polite_flamingo.jobs.backends.text import TextQuestion
from polite_flamingo.jobs.backends.usage import Usage
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import EndpointSettings

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated

LOG = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_PASSING = {408, 409, 425, 429}  # and 5xx
_OF_ONE_RECORD = {400, 413, 414, 415, 422}
_SENT = {"max_new_tokens", "do_sample", "temperature", "top_p", "seed"}
_WARNING_SECONDS = 10.0  # between two lines about repeated tries


class EndpointBackend:
    """An endpoint behind the backends' protocol.

    It runs its own event loop in a thread, so it can be called from anywhere, also from several threads: the bound on
    concurrency holds over all calls.

    Args:
        url: Base url, ``https://host/v1``.
        model: Model name the endpoint knows.
        settings: Decoding; ``max_new_tokens``, ``do_sample``, ``temperature``, ``top_p`` and ``seed`` count.
        image_root: Folder of the image paths.
        key: Bearer token; None: no authorisation header. It is never logged, hashed or written.
        endpoint: Bounds, pauses and prices.
        cache: Folder of answers by content hash; None: nothing is kept.

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
    ) -> None:
        self._url = check_url(url, sends_key=key is not None)
        self._model = model
        self._settings = settings
        self._key = key
        self._options = endpoint or EndpointSettings()
        self._kept = KeptAnswers(cache)
        self._length_key = "max_tokens"
        self._failed_in_a_row = 0
        self._not_before = 0.0
        self._last_warning = -math.inf
        self._lock = threading.Lock()
        self._runner: EventLoop | None = None
        self._client: httpx.AsyncClient | None = None
        self._slots: asyncio.Semaphore | None = None
        self._image_url = lru_cache(maxsize=64)(
            partial(image_url, image_root, edge=self._options.image_edge, most_bytes=self._options.image_bytes)
        )
        self.usage = Usage()
        self.batch_size = 4 * self._options.concurrency  # slow answers hold up the end of a batch only
        sent = settings.model_dump(include=_SENT)
        images = [self._options.image_edge, self._options.image_bytes]
        self.identity = fingerprint("openai", self._url, model, sent, images)

    def __repr__(self) -> str:
        return f"EndpointBackend(url={self._url!r}, model={self._model!r})"

    def answer(self, questions: Sequence[TextQuestion]) -> list[Generated | Failure]:
        """Ask for every answer; see the module's text for what becomes of failures."""
        future = asyncio.run_coroutine_threadsafe(self._all(questions), self._start().loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close connections and thread, and log what was used."""
        with self._lock:
            runner, self._runner = self._runner, None
            if runner is None:
                return
            if self._client is not None:
                asyncio.run_coroutine_threadsafe(self._client.aclose(), runner.loop).result()
            self._client = self._slots = None
            runner.stop()
        LOG.info("%r: %s", self, asdict(self.usage))

    def _start(self) -> EventLoop:
        import httpx

        with self._lock:
            if self._runner is None:
                headers = {"Accept-Encoding": "identity"}
                if self._key:
                    headers["Authorization"] = f"Bearer {self._key}"
                bound = self._options.concurrency
                self._runner = EventLoop()
                self._slots = asyncio.Semaphore(bound)
                self._client = httpx.AsyncClient(
                    headers=headers,
                    timeout=self._options.timeout,
                    limits=httpx.Limits(max_connections=bound, max_keepalive_connections=bound),
                    follow_redirects=False,
                )
            return self._runner

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

        assert self._slots is not None
        async with self._slots:
            try:
                body = await asyncio.to_thread(self._body, question)
            except ImageError as error:
                self.usage.failed += 1
                return Failure(f"error: {error.what}")
            name = hashlib.sha256(json.dumps([self._url, body], sort_keys=True).encode()).hexdigest()
            reply = await asyncio.to_thread(self._kept.recall, name)
            if reply is not None:
                self.usage.cached += 1
                return Generated(reply.text, reply.finish_reason, reply.completion_tokens or 0)
            try:
                reply = await self._ask(body)
            except (PassingError, RecordError) as error:
                self._count_failure(error)
                return Failure(f"error: {error}")
            self._count(reply)
            await asyncio.to_thread(self._kept.remember, name, reply)
            return Generated(reply.text, reply.finish_reason, reply.completion_tokens or 0)

    async def _ask(self, body: dict[str, Any]) -> Reply:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        options = self._options
        growing = wait_random_exponential(multiplier=options.pause, max=options.longest_pause)

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            named = error.retry_after if isinstance(error, PassingError) else 0.0
            return max(named, float(growing(state)))

        def warn(state: RetryCallState) -> None:
            self.usage.retries += 1
            error = state.outcome.exception() if state.outcome else None
            if time.monotonic() - self._last_warning >= _WARNING_SECONDS:
                self._last_warning = time.monotonic()
                LOG.warning("%s: tries repeated so far: %d; the last: %s", self._url, self.usage.retries, error)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(options.attempts),
            wait=pause,
            retry=retry_if_exception_type(PassingError),
            before_sleep=warn,
            reraise=True,
        )
        return await retrying(self._once, body)

    async def _once(self, body: dict[str, Any]) -> Reply:
        """One try, within the time-out as a whole."""
        import httpx

        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        length_key = self._length_key
        if length_key != "max_tokens":
            body = {k if k != "max_tokens" else length_key: v for k, v in body.items()}
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self._options.timeout):
                status, headers, data = await self._post(body)
        except TimeoutError:
            raise PassingError(f"no whole answer within {self._options.timeout:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            gone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise PassingError(f"{type(error).__name__}: {error}", gone=gone) from None
        if status == 200:
            return parse(data)
        excerpt = self._excerpt(data)
        if status == 400 and length_key == self._length_key == "max_tokens" and "max_completion_tokens" in excerpt:
            self._length_key = "max_completion_tokens"
            return await self._once(body)
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP {status}: {excerpt}", self._hold_back(headers))
        if status in _OF_ONE_RECORD:
            raise RecordError(f"HTTP {status}: {excerpt}")
        raise ModelError(
            f"endpoint answered {status}",
            value=excerpt,
            where=self._url,
            next_step=f"check the url, the model's name {self._model!r} and {KEY_VARIABLE}; then start again",
        )

    async def _post(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        assert self._client is not None
        data = bytearray()
        async with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    raise RecordError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return response.status_code, response.headers, bytes(data)

    def _hold_back(self, headers: Mapping[str, str]) -> float:
        """Seconds the endpoint wants to be left alone; until then no request is sent.

        Raises:
            ModelError: it asks for more patience than `EndpointSettings.longest_wait`.
        """
        seconds = retry_after(headers.get("retry-after", ""))
        if seconds > self._options.longest_wait:
            raise ModelError(
                "endpoint wants to be left alone for long",
                value=f"{seconds:.0f} s",
                where=self._url,
                next_step="start again after that time: what was answered is kept",
            )
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        return seconds

    def _excerpt(self, data: bytes) -> str:
        """The beginning of what an endpoint said, without our key should it repeat it."""
        text = " ".join(data[:4096].decode(errors="replace").split())
        return (text.replace(self._key, "[key]") if self._key else text)[:300]

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
            raise ModelError(
                "endpoint does not answer",
                value=str(error),
                where=self._url,
                next_step="mend it and start again: what was answered is kept",
            ) from None

    def _body(self, question: TextQuestion) -> dict[str, Any]:
        settings = self._settings
        urls = iter([self._image_url(path) for path in question.images])
        sampled = settings.do_sample or question.attempt > 0
        seed = hashlib.sha256(f"{settings.seed}:{question.key}:{question.attempt}:generate".encode()).digest()
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m["role"], "content": content_of(m["content"], urls)} for m in question.messages()],
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature if sampled else 0.0,
            "seed": int.from_bytes(seed[:4]) >> 1,
        }
        if sampled and settings.top_p < 1.0:
            body["top_p"] = settings.top_p
        return body
