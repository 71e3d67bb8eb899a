"""Requests to an OpenAI-compatible endpoint, tried again with growing pauses until one try succeeds."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.backends.chat_completion import (
    KEY_VARIABLE,
    PassingError,
    RecordError,
    Reply,
    beginning,
    parse,
    retry_after,
)
from polite_flamingo.jobs.backends.usage import Usage
from polite_flamingo.jobs.settings import EndpointSettings

if TYPE_CHECKING:
    from tenacity import RetryCallState

LOG = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_PASSING = {408, 409, 425, 429}  # and 5xx
_OF_ONE_RECORD = {400, 413, 414, 415, 422}
_FORMAT = re.compile(r"response_format|json_schema|guided|grammar", re.IGNORECASE)
_WARNING_SECONDS = 10.0  # between two lines about repeated tries


class EndpointDownError(ModelError):
    """An endpoint does not answer now; what it has answered is kept, and the same work may succeed later."""


class ChatClient:
    """A client of one endpoint; a ``Retry-After`` holds back all of its requests.

    Args:
        url: Base url.
        key: Bearer token; None: no authorisation header.
        options: Bounds and pauses.
        usage: Where requests and tries are counted.
    """

    def __init__(self, url: str, key: str | None, options: EndpointSettings, usage: Usage) -> None:
        import httpx

        headers = {"Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        bound = options.concurrency
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=options.timeout,
            limits=httpx.Limits(max_connections=bound, max_keepalive_connections=bound),
            follow_redirects=False,
        )
        self._url = url
        self._key = key
        self._options = options
        self._length_key = "max_tokens"
        self._formats = True  # until it refuses `response_format`
        self._not_before = 0.0
        self._last_warning = -math.inf
        self.usage = usage

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, body: dict[str, Any]) -> Reply:
        """The reply to a request, with all its tries.

        Raises:
            PassingError: no try succeeded.
            RecordError: this request is refused.
            ModelError: every request would be.
        """
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
        if not self._formats:
            body = {k: v for k, v in body.items() if k != "response_format"}
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
            return parse(data, self._excerpt)
        excerpt = self._excerpt(data)
        if status == 400 and length_key == self._length_key == "max_tokens" and "max_completion_tokens" in excerpt:
            self._length_key = "max_completion_tokens"
            return await self._once(body)
        if status in (400, 422) and "response_format" in body and _FORMAT.search(excerpt):
            self._formats = False
            LOG.warning(
                "%s knows no JSON schema: asked without; verdicts that cannot be read are asked for again", self._url
            )
            return await self._once(body)
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP {status}: {excerpt}", self._hold_back(headers))
        if status in _OF_ONE_RECORD:
            raise RecordError(f"HTTP {status}: {excerpt}")
        raise ModelError(
            f"endpoint answered {status}",
            value=excerpt,
            where=self._url,
            next_step=f"check the url, the model's name {body['model']!r} and {KEY_VARIABLE}; then start again",
        )

    async def _post(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        data = bytearray()
        async with self._http.stream("POST", f"{self._url}/chat/completions", json=body) as response:
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    raise RecordError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return response.status_code, response.headers, bytes(data)

    def _hold_back(self, headers: Mapping[str, str]) -> float:
        """Seconds the endpoint wants to be left alone; until then no request is sent.

        Raises:
            EndpointDownError: it asks for more patience than `EndpointSettings.longest_wait`.
        """
        seconds = retry_after(headers.get("retry-after", ""))
        if seconds > self._options.longest_wait:
            raise EndpointDownError(
                "endpoint wants to be left alone for long",
                value=f"{seconds:.0f} s",
                where=self._url,
                next_step="start again after that time: what was answered is kept",
            )
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        return seconds

    def _excerpt(self, data: bytes) -> str:
        """The beginning of what an endpoint said, without our key should it repeat it."""
        return beginning(data.replace(self._key.encode(), b"[key]") if self._key else data)
