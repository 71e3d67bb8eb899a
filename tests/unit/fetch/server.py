"""A real HTTP server in a thread, whose files and misbehaviour a test decides."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file and how it is served."""

    data: bytes
    ranges: bool = True  # does the server know Range?
    etag: str | None = '"one"'
    cut_after: list[int] = field(default_factory=list)  # bytes sent before the line breaks, one entry per request
    status: list[int] = field(default_factory=list)  # answers before the file itself, one per request
    head: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """The server: files by name, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, str | None, int]] = []  # method, name, Range, status
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self, body=True)

            def do_HEAD(self) -> None:
                site.answer(self, body=False)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"

    def gets(self, name: str) -> list[tuple[str | None, int]]:
        """Range and status of every GET for a file."""
        return [(asked, status) for method, what, asked, status in self.requests if (method, what) == ("GET", name)]

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        name = handler.path.lstrip("/")
        asked = handler.headers.get("Range")
        served = self.files.get(name)
        if served is None or (not body and not served.head):
            return self._send(handler, name, 404 if served is None else 405, {}, b"", asked)
        if body and served.status:
            return self._send(handler, name, served.status.pop(0), {}, b"", asked)
        status, data, headers = 200, served.data, dict(served.headers)
        if served.etag:
            headers["ETag"] = served.etag
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        if match and served.ranges and handler.headers.get("If-Range", served.etag) == served.etag:
            start = int(match.group(1))
            if start >= len(data):
                return self._send(handler, name, 416, {"Content-Range": f"bytes */{len(data)}"}, b"", asked)
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            status, data = 206, data[start:]
        cut = served.cut_after.pop(0) if body and served.cut_after else None
        return self._send(handler, name, status, headers, data if body else b"", asked, len(data), cut)

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        name: str,
        status: int,
        headers: dict[str, str],
        data: bytes,
        asked: str | None,
        length: int = 0,
        cut: int | None = None,
    ) -> None:
        self.requests.append((handler.command, name, asked, status))
        handler.send_response(status)
        for key, value in {"Content-Length": str(length), "Connection": "close", **headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(data if cut is None else data[:cut])
        handler.close_connection = True
