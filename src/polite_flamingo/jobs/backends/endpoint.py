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
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.io import fingerprint
from polite_flamingo.jobs.backends.base import ERROR, Request
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
from polite_flamingo.jobs.backends.kept_answers import KeptAnswers
from polite_flamingo.prompts.rewriting import rewriting_messages
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_PASSING = {408, 409, 425, 429}  # and 5xx
_OF_ONE_RECORD = {400, 413, 414, 415, 422}
_SENT = {"max_new_tokens", "do_sample", "temperature", "top_p", "seed"}
_TELL_EVERY = 10.0  # seconds between two lines about repeated tries


class EndpointOptions(Settings):
    """How an endpoint is treated."""

    concurrency: int = Field(8, gt=0, description="requests at the same time, at most")
    timeout: float = Field(120, gt=0, description="seconds for one whole answer, however slowly it drips in")
    attempts: int = Field(6, gt=0, description="tries per request, at most")
    pause: float = Field(1, gt=0, description="seconds before the second try, at most; the bound doubles each time")
    longest_pause: float = Field(60, gt=0, description="bound of the growing pauses, seconds")
    longest_wait: float = Field(
        900, ge=0, description="longest `Retry-After` that is waited for, seconds; above it the run ends"
    )
    give_up_after: int = Field(
        24, gt=0, description="requests failing in a row, all tries used, after which the endpoint counts as gone"
    )
    image_edge: int = Field(1024, gt=0, description="longest edge of an image sent, pixels")
    image_bytes: int = Field(1024 * 1024, gt=0, description="largest JPEG sent, bytes")
    price_in: float = Field(0, ge=0, description="price of a million prompt tokens, in whatever currency")
    price_out: float = Field(0, ge=0, description="price of a million answered tokens")


@dataclass(slots=True)
class Usage:
    """What a backend has asked for so far.

    Args:
        requests: Requests sent, repetitions included.
        retries: Repetitions among them.
        answered: Answers received.
        cached: Answers taken from the cache instead.
        failed: Requests that ended as a record's error.
        prompt_tokens: Tokens of the prompts answered, as the endpoint counts them.
        completion_tokens: Tokens of the answers.
        uncounted: Answers that came without counts.
        cost: Price of the counted tokens.
    """

    requests: int = 0
    retries: int = 0
    answered: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float = 0.0


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
        options: Bounds, pauses and prices.
        cache: Folder of answers by content hash; None: nothing is kept.

    Raises:
        ConfigError: the url is not one, or carries a password, query or fragment.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: GenerationSettings,
        *,
        image_root: Path,
        key: str | None = None,
        options: EndpointOptions | None = None,
        cache: Path | None = None,
    ) -> None:
        self._url = check_url(url, sends_key=key is not None)
        self._model = model
        self._settings = settings
        self._key = key
        self._options = options or EndpointOptions()
        self._kept = KeptAnswers(cache)
        self._length_key = "max_tokens"
        self._failed_in_a_row = 0
        self._not_before = 0.0
        self._told = -math.inf
        self._lock = threading.Lock()
        self._runner: _Loop | None = None
        self._client: httpx.AsyncClient | None = None
        self._slots: asyncio.Semaphore | None = None
        self._image_url = lru_cache(maxsize=64)(
            partial(image_url, image_root, edge=self._options.image_edge, most_bytes=self._options.image_bytes)
        )
        self.usage = Usage()
        self.batch_size = 4 * self._options.concurrency  # slow answers hold up the end of a batch only
        sent = settings.model_dump(include=_SENT)
        images = [self._options.image_edge, self._options.image_bytes]
        self.identity = fingerprint("openai", self._url, model, rewriting_messages("{}", "{}", 1), sent, images)

    def __repr__(self) -> str:
        return f"EndpointBackend(url={self._url!r}, model={self._model!r})"

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Ask for every answer; see the module's text for what becomes of failures."""
        future = asyncio.run_coroutine_threadsafe(self._all(requests), self._start().loop)
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
        logger.info("%r: %s", self, asdict(self.usage))

    def _start(self) -> _Loop:
        import httpx

        with self._lock:
            if self._runner is None:
                headers = {"Accept-Encoding": "identity"}
                if self._key:
                    headers["Authorization"] = f"Bearer {self._key}"
                bound = self._options.concurrency
                self._runner = _Loop()
                self._slots = asyncio.Semaphore(bound)
                self._client = httpx.AsyncClient(
                    headers=headers,
                    timeout=self._options.timeout,
                    limits=httpx.Limits(max_connections=bound, max_keepalive_connections=bound),
                    follow_redirects=False,
                )
            return self._runner

    async def _all(self, requests: Sequence[Request]) -> list[Generated]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(request)) for request in requests]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _answer(self, request: Request) -> Generated:
        """One request, from image to text; it holds its slot while it pauses, which eases an endpoint in trouble."""
        from polite_flamingo.records import Generated

        assert self._slots is not None
        async with self._slots:
            try:
                body = await asyncio.to_thread(self._body, request)
            except ImageError as error:
                self.usage.failed += 1
                return Generated("", f"{ERROR}{error.what}", 0)
            name = hashlib.sha256(json.dumps([self._url, body], sort_keys=True).encode()).hexdigest()
            reply = await asyncio.to_thread(self._kept.recall, name)
            if reply is not None:
                self.usage.cached += 1
                return Generated(reply.text, reply.finish_reason, reply.completion_tokens or 0)
            try:
                reply = await self._ask(body)
            except (PassingError, RecordError) as error:
                self._count_failure(error)
                return Generated("", f"{ERROR}{error}", 0)
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

        def told(state: RetryCallState) -> None:
            self.usage.retries += 1
            error = state.outcome.exception() if state.outcome else None
            if time.monotonic() - self._told >= _TELL_EVERY:
                self._told = time.monotonic()
                logger.warning("%s: tries repeated so far: %d; the last: %s", self._url, self.usage.retries, error)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(options.attempts),
            wait=pause,
            retry=retry_if_exception_type(PassingError),
            before_sleep=told,
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
        said = self._excerpt(data)
        if status == 400 and length_key == self._length_key == "max_tokens" and "max_completion_tokens" in said:
            self._length_key = "max_completion_tokens"
            return await self._once(body)
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP {status}: {said}", self._hold_back(headers))
        if status in _OF_ONE_RECORD:
            raise RecordError(f"HTTP {status}: {said}")
        raise ModelError(
            f"endpoint answered {status}",
            value=said,
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
            ModelError: it asks for more patience than `EndpointOptions.longest_wait`.
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
        usage, options = self.usage, self._options
        usage.answered += 1
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            usage.uncounted += 1
        else:
            usage.prompt_tokens += reply.prompt_tokens
            usage.completion_tokens += reply.completion_tokens
            price = reply.prompt_tokens * options.price_in + reply.completion_tokens * options.price_out
            usage.cost += price / 1_000_000

    def _count_failure(self, error: Exception) -> None:
        """Raise where it is the endpoint that fails and not the record."""
        self.usage.failed += 1
        self._failed_in_a_row += 1
        logger.warning("%s: a request failed: %s", self._url, error)
        gone = isinstance(error, PassingError) and error.gone
        if gone or self._failed_in_a_row >= self._options.give_up_after:
            raise ModelError(
                "endpoint does not answer",
                value=str(error),
                where=self._url,
                next_step="mend it and start again: what was answered is kept",
            ) from None

    def _body(self, request: Request) -> dict[str, Any]:
        settings = self._settings
        given: Sequence[Mapping[str, Any]] = request.messages or rewriting_messages(
            request.instruction, request.draft, len(request.images)
        )
        urls = iter([self._image_url(path) for path in request.images] if request.messages is None else [])
        sampled = settings.do_sample or request.attempt > 0
        seed = hashlib.sha256(f"{settings.seed}:{request.key}:{request.attempt}:generate".encode()).digest()
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m["role"], "content": content_of(m["content"], urls)} for m in given],
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature if sampled else 0.0,
            "seed": int.from_bytes(seed[:4]) >> 1,
        }
        if sampled and settings.top_p < 1.0:
            body["top_p"] = settings.top_p
        return body


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.loop.shutdown_default_executor(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
