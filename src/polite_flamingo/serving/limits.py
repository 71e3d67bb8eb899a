"""What stands before the routes: who may call, from where, and how much of a body is read. Pure ASGI.

In this order: the Host header (DNS rebinding), the Origin (pages of other sites in a browser on this machine), the API
key, the body's size and time. A body is read whole here, bounded, so that no route ever waits for one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from polite_flamingo.callers import LOCAL, Callers, values
from polite_flamingo.serving.faults import RefusedError
from polite_flamingo.serving.settings import ServingSettings

OPEN = ("/health",)  # without a key
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]


class RequestGuard:
    """Refuses what no route should see.

    Args:
        app: The routes.
        settings: Names, origins, limits.
        keys: API keys; none: no key is asked for.
    """

    def __init__(self, app: App, settings: ServingSettings, keys: Sequence[str] = ()) -> None:
        self._app, self._limits = app, settings.limits
        own = () if settings.host in ("0.0.0.0", "::") else (settings.host,)
        self._callers = Callers(
            {name.lower() for name in (*LOCAL, *own, *settings.names)},
            {origin.lower().rstrip("/") for origin in settings.origins},
        )
        self._held = 0  # bytes of bodies
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on with its body read."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        cross = self._allowed_origin(scope)
        if cross:
            send = _with_origin(send, cross)
        try:
            self._check_caller(scope)
            if cross and scope["method"] == "OPTIONS":
                await _answer_preflight(send)
                return
            scope["client_id"] = self._check_key(scope)
        except RefusedError as error:
            await answer_refused(send, error)
            return
        holding = _Held(self)
        scope["body_read"] = holding.release
        try:
            body = await self._body(scope, receive, holding)
            await self._app(scope, _replayed(body, receive), send)
        except RefusedError as error:
            await answer_refused(send, error, close=True)
        finally:
            holding.release()

    def _check_caller(self, scope: Any) -> None:
        strange = self._callers.strange(scope["headers"])
        if strange == "host":
            raise RefusedError(
                421, "this server is not called by that name (Host); start it with --name", code="unknown_host"
            )
        if strange is not None:
            raise RefusedError(
                403, "pages of other origins may not call this server; start it with --origin", code="cross_origin"
            )

    def _allowed_origin(self, scope: Any) -> str:
        origins = values(scope["headers"], b"origin")
        return origins[0] if len(origins) == 1 and origins[0].lower().rstrip("/") in self._callers.origins else ""

    def _check_key(self, scope: Any) -> str:
        """Whose request it is: the key's number, or the address."""
        address = (scope.get("client") or ("",))[0]
        if not self._keys or scope["path"] in OPEN:
            return str(address)
        sent = values(scope["headers"], b"authorization")
        scheme, _, given = (sent[0] if len(sent) == 1 else "").partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        same = [hmac.compare_digest(digest, key) for key in self._keys]
        if scheme.lower() != "bearer" or not any(same):
            raise RefusedError(
                401,
                "a valid API key is needed: Authorization: Bearer …",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return f"key {same.index(True)}" if len(self._keys) > 1 else str(address)

    async def _body(self, scope: Any, receive: Receive, holding: _Held) -> bytes:
        lengths = values(scope["headers"], b"content-length")
        most = self._limits.body
        too_long = RefusedError(413, f"the body is longer than {most:,} bytes", code="body_too_large")
        if any(not value.isdecimal() or int(value[:19]) > most for value in lengths):
            raise too_long
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return b""
        kind = next(iter(values(scope["headers"], b"content-type")), "").partition(";")[0].strip().lower()
        if kind != "application/json":  # what forms of other sites cannot send
            raise RefusedError(415, "send Content-Type: application/json", code="unsupported_media_type")
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "the body never came whole", code="incomplete_body")
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise too_long
                    holding.grow(len(message.get("body", b"")))
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise RefusedError(408, f"the body did not come within {seconds:g} seconds", code="slow_body") from None


class _Held:
    """The bytes of one body, of all that a guard holds."""

    def __init__(self, guard: RequestGuard) -> None:
        self._guard, self._bytes = guard, 0

    def grow(self, count: int) -> None:
        if self._guard._held + count > self._guard._limits.bodies:
            raise RefusedError(429, "too many requests are being read", code="queue_full", headers={"Retry-After": "1"})
        self._guard._held += count
        self._bytes += count

    def release(self) -> None:
        self._guard._held -= self._bytes
        self._bytes = 0


async def answer_refused(send: Send, error: RefusedError, *, close: bool = False) -> None:
    """Send an error."""
    headers = {"Content-Type": "application/json", **error.headers, **({"Connection": "close"} if close else {})}
    await _send(send, error.status, headers, error.body)


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _answer_preflight(send: Send) -> None:
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": "600",
    }
    await _send(send, 204, allowed, b"")


def _with_origin(send: Send, origin: str) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            allow = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
            message = {**message, "headers": [*message.get("headers", ()), *allow]}
        await send(message)

    return sending


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body at once; after it what the connection says (that the client left)."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Any:
        return pending.pop() if pending else await receive()

    return receiving
