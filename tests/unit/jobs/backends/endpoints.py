"""An endpoint that is asked, and servers that answer with given bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import EndpointSettings
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion

SAMPLED = GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=True, temperature=0.7)
GREEDY = GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=False)


def backend(url: str, root: Path, settings: GenerationSettings = GREEDY, **given: Any) -> EndpointBackend:
    bounds = {name: given.pop(name) for name in list(given) if name in EndpointSettings.model_fields}
    endpoint = EndpointSettings(**{"pause": 0.001, "timeout": 5.0, **bounds})
    return EndpointBackend(url, "some-model", settings, root, endpoint=endpoint, **given)


def text_of(answer: Generated | Failure) -> str | None:
    return answer.text if isinstance(answer, Generated) else None


def ask(number: int = 1, *images: str, attempt: int = 0) -> RewriteQuestion:
    return RewriteQuestion(f"id{number}", f"<record {number}>", "red", images, attempt=attempt)


def fine(record: str, number: int) -> None:
    return None


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@contextmanager
def replying(reply: bytes) -> Iterator[str]:
    """The url of a server that answers everything with these bytes."""
    import socketserver

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
