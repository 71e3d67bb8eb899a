"""What reaches Gradio: the few requests of our own page, and no path but an upload's.

Gradio answers much more than a page needs: it fetches URLs, runs functions beside the queue, keeps histories, and an
app that is mounted takes any path as an uploaded image (its check waits for `launch`). So whatever is not listed here
is refused before Gradio sees it. Names, origins and other sites are checked before (`launch.guard`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON = 65_536  # bytes of a call
MAX_UPLOAD = 20 * 1024 * 1024  # bytes of a file
FORM = 65_536  # bytes that a form adds to its file
API = "/gradio_api"
FILE = f"{API}/file="
PAGES = ("/", "/config", "/theme.css", "/favicon.ico", f"{API}/startup-events")
FOLDERS = ("/assets/", "/static/", f"{API}/heartbeat/", f"{API}/queue/data", f"{API}/upload_progress")
CALLS = (f"{API}/queue/join", f"{API}/cancel", f"{API}/reset")
UPLOAD = f"{API}/upload"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageRefusedError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP's number.
        why: For who sent it.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class PageGuard:
    """The middleware before Gradio.

    Args:
        app: What answers the rest.
        uploads: Folder of the uploads, the only one of which a path may be named or read.
    """

    def __init__(self, app: ASGIApp, uploads: Path) -> None:
        self._app = app
        self._uploads = uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on with the headers that bind the browser."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            receive = await self._admit(scope, receive)
        except PageRefusedError as refused:
            await JSONResponse({"error": str(refused)}, refused.status)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """What Gradio reads the request's body from."""
        if scope["type"] != "http":
            raise PageRefusedError(404, "there is no such page")
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        if method in ("GET", "HEAD"):
            if path.startswith(FILE):
                self._check(path.removeprefix(FILE))
            elif path not in PAGES and not path.startswith(FOLDERS):
                raise PageRefusedError(404, "there is no such page")
            return receive
        if method != "POST" or path not in (*CALLS, UPLOAD):
            raise PageRefusedError(404, "there is no such page")
        if path == UPLOAD:
            return _bounded(receive, headers, MAX_UPLOAD + FORM)
        body = await _read(_bounded(receive, headers, MAX_JSON))
        self._check_files(body)
        return _again(body, receive)

    def _check_files(self, body: bytes) -> None:
        try:
            parts = _objects(json.loads(body))
            for part in parts:
                if "path" in part or "url" in part:
                    self._check(part.get("path"))
        except (ValueError, RecursionError):
            raise PageRefusedError(400, "the call is not understood") from None

    def _check(self, path: Any) -> None:
        try:
            if isinstance(path, str) and (file := Path(path)).is_absolute():
                file = file.resolve()
                if file.is_relative_to(self._uploads) and file.is_file():
                    return
        except (OSError, RuntimeError, ValueError):
            pass
        raise PageRefusedError(403, "only uploaded images are read")


def _bounded(receive: Receive, headers: Headers, most: int) -> Receive:
    """Raises `PageRefusedError` where the body is, or would be, larger."""
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise PageRefusedError(411, "the request does not say how long it is")
    if int(length) > most:  # a server reads no more than is said
        raise PageRefusedError(413, f"a request has at most {most:,} bytes")
    return receive


async def _read(receive: Receive) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise PageRefusedError(400, "the request ended early")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read, then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return left.pop() if left else await receive()

    return give


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects within a JSON value."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part)
