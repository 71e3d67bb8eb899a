"""A real HTTP server on loopback that speaks the chat completions protocol, with faults on order."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "429 with seconds", "429 with a date", "429 bare", "500", "503", "silence", "cut before the answer",
    "cut within the answer", "malformed", "a page of html", "no choices", "no text", "drip without end",
)  # fmt: skip
Plan = Callable[[str, int], str | None]  # (record, number of the try from 0) -> what happens


class FaultyServer(ThreadingHTTPServer):
    """Answers ``answer to <record>`` for a request that mentions ``<record 17>``, unless the plan has a fault.

    Args:
        plan: What happens to a try: a fault; "slow drip", an answer in pieces; "together N", an answer once N requests
            are there at the same time (or 3 s have passed); None, an answer.
        timeout: The client's; silence and endless drips outlast it.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, plan: Plan, timeout: float = 3.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan = plan
        self.client_timeout = timeout
        self.lock = threading.Lock()
        self.tries: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.arrivals: list[float] = []
        self.in_flight = 0
        self.refuses: dict[str, tuple[int, Any]] = {}  # parameter -> status and error
        self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""


@contextmanager
def serving(plan: Plan, timeout: float = 3.0) -> Iterator[FaultyServer]:
    server = FaultyServer(plan, timeout)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = re.search(r"<(record \d+)>", json.dumps(body["messages"]))
        record = found[1] if found else "record ?"
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.headers_seen.append(dict(self.headers))
            server.arrivals.append(time.monotonic())
            number = server.tries[record]
            server.tries[record] += 1
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        self._counted = True
        for name, (status, error) in server.refuses.items():
            if name in body:
                server.tries[record] -= 1
                self._leave()
                self._send(status, {"error": error})
                return
        fault = server.plan(record, number)
        server.met[fault or "none"] += 1
        try:
            time.sleep(0.005)  # so that requests overlap
            self._act(fault, record)
        finally:
            self._leave()

    def _act(self, fault: str | None, record: str) -> None:
        if fault and fault.startswith("together"):
            start, wanted = time.monotonic(), int(fault.split()[1])
            while self.server.most_in_flight < wanted and time.monotonic() - start < 3:
                time.sleep(0.01)
            fault = None
        if fault is None or fault == "slow drip":
            with self.server.lock:
                self.server.answered[record] += 1
            self._send(200, completion(f"answer to {record}"), pieces=8 if fault else 1)
        elif fault.startswith("429"):
            named = {"429 with seconds": "0.2", "429 with a date": formatdate(time.time() + 1, usegmt=True)}
            self._send(429, {"error": "too many"}, {"Retry-After": named[fault]} if fault in named else {})
        elif fault[:3].isdigit():
            self._send(int(fault[:3]), {"error": f"on order: {fault}"})
        elif fault == "silence":
            self._outlast(lambda: None)
        elif fault == "cut before the answer":
            self.close_connection = True
        elif fault == "cut within the answer":
            data = json.dumps(completion("half")).encode()
            self._head(200, len(data))
            self._write(data[: len(data) // 2])
            self.close_connection = True
        elif fault in ("long", "packed"):
            data = json.dumps(completion("long " * 100_000)).encode()
            packed = fault == "packed"
            self._send(200, gzip.compress(data) if packed else data, {"Content-Encoding": "gzip"} if packed else {})
        elif fault == "drip without end":
            self._head(200, 100_000)
            self._outlast(lambda: self._write(b" "))
        else:
            self._send(200, _SPOILT[fault])

    def _outlast(self, step: Callable[[], None]) -> None:
        """Keep the client waiting; stop counting the request before the client can have given up on it."""
        start = time.monotonic()
        self.close_connection = True
        while (passed := time.monotonic() - start) < self.server.client_timeout + 1:
            if passed > 0.7 * self.server.client_timeout:
                self._leave()
            step()
            time.sleep(0.05)

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            with self.server.lock:
                self.server.in_flight -= 1

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None, pieces: int = 1) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._head(status, len(data), headers)
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            if start + size >= len(data):
                self._leave()  # the client may send its next request the moment it has the last byte
            self._write(data[start : start + size])
            if pieces > 1:
                time.sleep(0.03)

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def completion(text: str | None, reason: str = "stop") -> dict[str, Any]:
    """A chat completion of three tokens for a prompt of ten."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3},
    }


_SPOILT: dict[str, Any] = {
    "malformed": b'{"choices": [{"message": {"content": "half of',
    "a page of html": b"<html>Bad gateway</html>",
    "no choices": {"choices": []},
    "no text": completion(None),
}
