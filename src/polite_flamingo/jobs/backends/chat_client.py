"""Requests to an OpenAI-compatible endpoint, tried again with growing pauses until one try succeeds."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import re
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.backends.chat_completion import (
    KEY_VARIABLE,
    ChatRequest,
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
_AT_ONCE = 1024 * 1024  # bytes of a request; larger ones are sent in pieces
_PASSING = {408, 409, 425, 429}  # and 5xx
_OF_ONE_RECORD = {400, 413, 414, 415, 422}
_NOT_TAKEN = re.compile(
    r"not (?:be )?(?:support|permit|allow|recogni|accept)|unsupported|un(?:known|recogni[sz]ed|expected)"
    r"|forbidden|extra|only the default",
    re.IGNORECASE,
)
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
        import aiohttp
        import httpx

        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        trusted = httpx.create_ssl_context() if url.startswith("https:") else True
        self._http = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=options.concurrency, ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=proxy_of(url),
        )
        self._url = url
        self._options = options
        self._length_key = "max_tokens"
        self._refused: set[str] = set()  # parameters the endpoint does not take
        self._not_before = 0.0
        self._last_warning = -math.inf
        self.usage = usage

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def ask(self, request: ChatRequest) -> Reply:
        """The reply to a request, with all its tries.

        Raises:
            PassingError: no try succeeded.
            RecordError: this request is refused.
            ModelError: every request would be.
        """
        try:
            return await self._once(request)
        except PassingError as error:
            return await self._again(request, error)

    async def _again(self, request: ChatRequest, failed: PassingError) -> Reply:
        """The tries after a first one that failed."""
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
        first = [failed]

        async def one_try() -> Reply:
            if first:
                raise first.pop()  # it counts as a try
            return await self._once(request)

        return await retrying(one_try)

    async def _once(self, request: ChatRequest) -> Reply:
        """One try, within the time-out as a whole."""
        import aiohttp

        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        length_key = self._length_key
        if length_key != "max_tokens":
            request = request.with_keys({"max_tokens": length_key})
        request = request.with_keys(dict.fromkeys(self._refused))
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self._options.timeout):
                status, headers, data = await self._post(request.encoded())
        except TimeoutError:
            raise PassingError(f"no whole answer within {self._options.timeout:g} s") from None
        except aiohttp.ClientError as error:
            gone = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise PassingError(f"{type(error).__name__}: {error}", gone=gone) from None
        if status == 200:
            return parse(data)
        excerpt = beginning(data)
        if status == 400 and length_key == self._length_key == "max_tokens" and "max_completion_tokens" in excerpt:
            self._length_key = "max_completion_tokens"
            return await self._once(request)
        if status in (400, 422) and (refused := _refused(request.body, excerpt)) is not None:
            if refused not in self._refused:
                LOG.warning(
                    "%s does not take %r: asked without it from now on; it says: %s", self._url, refused, excerpt
                )
            self._refused.add(refused)
            return await self._once(request)
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP {status}: {excerpt}", self._hold_back(headers))
        if status in _OF_ONE_RECORD:
            raise RecordError(f"HTTP {status}: {excerpt}")
        raise ModelError(
            f"endpoint answered {status}",
            value=excerpt,
            where=self._url,
            next_step=f"check the url, the model's name {request.body['model']!r} and {KEY_VARIABLE}; then start again",
        )

    async def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        data = bytearray()
        sent = body if len(body) <= _AT_ONCE else io.BytesIO(body)
        async with self._http.post(f"{self._url}/chat/completions", data=sent, allow_redirects=False) as response:
            unpack = _unpacking(response.headers.get("Content-Encoding", "identity"))
            async for chunk in response.content.iter_any():
                data += unpack(chunk, MAX_ANSWER_BYTES + 1 - len(data))
                if len(data) > MAX_ANSWER_BYTES:
                    raise RecordError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return response.status, response.headers, bytes(data)

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


def _refused(body: Mapping[str, Any], said: str) -> str | None:
    """The parameter of a request that the endpoint says it does not take."""
    for name in ("seed", "top_p", "temperature"):
        if name in body and re.search(rf"\b{name}\b", said) and _NOT_TAKEN.search(said):
            return name
    return "response_format" if "response_format" in body and _FORMAT.search(said) else None


def _unpacking(coding: str) -> Callable[[bytes, int], bytes]:
    """What makes at most so many bytes of each piece of an answer; it was asked for as it is, but some pack it."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return lambda piece, most: piece
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RecordError(f"the answer is packed as {coding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out which of the two it is

    def unpack(piece: bytes, most: int) -> bytes:
        try:
            return unpacker.decompress(piece, most)
        except zlib.error as error:
            raise PassingError(f"the packed answer is broken: {error}") from None

    return unpack


def proxy_of(url: str) -> str | None:
    """The proxy that ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` name for an endpoint.

    Raises:
        ConfigError: it is none for HTTP.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise ConfigError(
            "a proxy of this kind cannot be used",
            value=proxy.partition("://")[0],
            where=f"{parts.scheme.upper()}_PROXY or ALL_PROXY",
            next_step=f"name an HTTP proxy, or add {parts.hostname} to NO_PROXY",
        )
    return proxy
