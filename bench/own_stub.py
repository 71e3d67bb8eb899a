"""A stub of an OpenAI-compatible endpoint, in a process of its own: ``python -m bench.own_stub LATENCY``.

It prints its port. Every question names its record ("... door 123?"); the answer follows from that number alone. It
counts how often each record was asked; ``GET /count`` tells how many requests came, ``GET /figures`` all there is to
say of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from functools import partial

MODEL = "stub"
_ASKED = re.compile(rb"door (\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_REPLY = (
    b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "%b"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}}'
)
_WORDS = ("red", "old", "tall", "oak", "wet", "small", "open", "blue", "grey", "new", "left", "far", "low", "wide")


def number_of(record: int) -> int:
    """The annotated answer: how many boxes."""
    return 2 + record % 97


def answer_of(record: int) -> str:
    """The rewrite: the annotated number, and words by which answers differ."""
    words = [_WORDS[record // len(_WORDS) ** place % len(_WORDS)] for place in range(5)]
    return f"There are {number_of(record)} boxes beside the {', '.join(words)} door in this picture."


class Counts:
    """What was asked."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.images = self.bytes = 0
        self.moments: list[float] = []

    def figures(self) -> dict[str, object]:
        """How often, how fast, and which records more than once."""
        times = {str(record): times for record, times in self.asked.items() if times > 1}
        return {
            "requests": len(self.moments),
            "records": len(self.asked),
            "asked_again": times,
            "with_image": self.images,
            "bytes_per_request": round(self.bytes / max(1, len(self.moments))),
            "moments": self.moments,
            "cpu_seconds": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 2),
        }


class Connection(asyncio.Protocol):
    """One connection that is kept alive; requests come one after the other.

    Args:
        counts: Of the server.
        latency: Seconds before an answer is sent.
    """

    def __init__(self, counts: Counts, latency: float) -> None:
        self._counts, self._latency = counts, latency
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._data, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._data) < whole:
                return
            request = bytes(self._data[:whole])
            del self._data[:whole]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        counts = self._counts
        if request.startswith(b"GET"):
            path = request.split(b" ", 2)[1]
            if path == b"/count":
                self._send({"requests": len(counts.moments)})
            else:
                self._send(counts.figures() if path == b"/figures" else {"data": [{"id": MODEL}]})
            return
        asked = _ASKED.search(request)
        assert asked is not None
        record = int(asked[1])
        counts.asked[record] += 1
        counts.images += b"data:image/jpeg;base64," in request
        counts.bytes += len(request)
        counts.moments.append(time.time())
        body = _REPLY % answer_of(record).encode()
        asyncio.get_running_loop().call_later(self._latency, self._transport.write, _whole(body))

    def _send(self, value: object) -> None:
        self._transport.write(_whole(json.dumps(value).encode()))


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def main(latency: float) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, Counts(), latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
