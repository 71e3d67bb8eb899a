"""A real server in a process of its own: real clients, idle and half-sent connections, SIGTERM and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest
from tests.pipeline.forks import Fork, Forks

pytestmark = pytest.mark.pipeline
SECONDS = 1.0  # that a connection may be silent
IDLE = 1000
MODEL = """
import sys
from pathlib import Path
import torch
from tests.model.micro import build_micro
from polite_flamingo.model.flamingo import save_flamingo
bundle = build_micro(tie=False)
with torch.no_grad():  # it never ends a text by itself
    bundle.model.lang_encoder.get_output_embeddings().weight[bundle.tokenizer.eos_token_id] = 0
save_flamingo(bundle, Path(sys.argv[1]))
"""
SERVER = f"""
import sys
from polite_flamingo.serving.run import serve_models
from polite_flamingo.serving.settings import ServingLimits, ServingSettings
limits = ServingLimits(header_seconds={SECONDS}, body_seconds={SECONDS}, body=200_000)
settings = ServingSettings(port=int(sys.argv[2]), slots=8, limits=limits)
sys.exit(serve_models([sys.argv[1]], settings, ready=lambda address, names: print(address, flush=True)))
"""
IMPORTS = """
import fastapi, torch, uvicorn
import polite_flamingo.model.flamingo, polite_flamingo.serving.run
from transformers import CLIPVisionModel, LlamaForCausalLM
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(IMPORTS, {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}) as forks:
        yield forks


@pytest.fixture(scope="module")
def model(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "micro"
    making = forks.start(str(folder), script=MODEL, cwd=folder.parent, log=folder.parent / "making")
    assert making.wait(60) == 0, making.said()
    return folder


class Server:
    """A server and its address."""

    def __init__(self, forks: Forks, model: Path, port: int = 0) -> None:
        log = model.parent / f"log {time.monotonic_ns()}"
        self.process: Fork = forks.start(str(model), str(port), script=SERVER, cwd=model.parent, log=log)
        until = time.monotonic() + 60
        while not log.exists() or "http" not in log.read_text():
            assert self.process.poll() is None and time.monotonic() < until, self.process.said()
            time.sleep(0.02)
        self.url = log.read_text().split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def health(self) -> int:
        return httpx.get(f"{self.url}/health", timeout=10).status_code

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture(scope="module")
def server(forks: Forks, model: Path) -> Iterator[Server]:
    server = Server(forks, model)
    yield server
    server.process.kill()


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def test_the_openai_package_talks_to_it(server: Server) -> None:
    from openai import BadRequestError, NotFoundError, OpenAI

    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["micro"]
    messages: Any = [{"role": "user", "content": "what color is the star ?"}]
    whole = client.chat.completions.create(model="micro", messages=messages, max_tokens=8)
    text = whole.choices[0].message.content
    assert text and whole.usage and whole.usage.completion_tokens <= 8
    stream = client.chat.completions.create(model="micro", messages=messages, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text
    with pytest.raises(NotFoundError, match="no such model"):
        client.chat.completions.create(model="gpt-4", messages=messages)
    with pytest.raises(BadRequestError, match="opens no address"):
        url = "http://169.254.169.254/latest"
        images: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        client.chat.completions.create(model="micro", messages=images)
    client.close()


def test_curl_talks_to_it(server: Server) -> None:
    command = ["curl", "-sS", "-N", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json"]
    said = subprocess.run(
        [*command, "-d", json.dumps(asked("how many ?", stream=True))], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("data: {") and said.stdout.endswith("data: [DONE]\n\n")


def test_our_endpoint_backend_rewrites_a_data_set_through_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    import polite_flamingo as pf
    from polite_flamingo.records import Task

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "a.png")
    samples = [
        pf.Sample(
            f"s/{n}", "s", "train", "cc0", Task.VQA,
            (pf.Turn("human", f"what color {n} ?", (0,)), pf.Turn("assistant", "red")), (pf.Image("a.png"),),
        )
        for n in range(5)
    ]  # fmt: skip
    decoding = {"do_sample": False, "max_new_tokens": 12}
    model = f"openai:{server.url}/v1#micro"
    rewrites = list(pf.rewrite_samples(samples, model, images=tmp_path, generation=decoding, repair={"attempts": 0}))
    assert [rewrite.id for rewrite in rewrites] == [sample.id for sample in samples]
    assert all(rewrite.rewritten for rewrite in rewrites)


def test_a_thousand_idle_connections_and_half_sent_requests_are_let_go_and_others_are_served(server: Server) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    halves = [b"", b"GET /hea", head, head + b"Content-Length: 100\r\n\r\n{", b"\x16\x03\x01\x02\x00\x01"]
    connections = [server.connection() for _ in range(IDLE)]
    for number, connection in enumerate(connections[: 10 * len(halves)]):
        connection.sendall(halves[number % len(halves)])
    began = time.monotonic()
    assert server.health() == 200
    assert time.monotonic() - began < 5
    until = time.monotonic() + 30
    for connection in connections:
        connection.settimeout(max(0.1, until - time.monotonic()))
        while connection.recv(4096):  # 400 and 408 come before the end
            pass
        connection.close()
    assert time.monotonic() - began < 20
    response = httpx.post(f"{server.url}/v1/chat/completions", json=asked("what ?"), timeout=10)
    assert response.status_code == 200


def test_sigterm_lets_running_requests_end_and_answers_others_503(forks: Forks, model: Path) -> None:
    server, streams, ended = Server(forks, model), 4, []

    def stream() -> None:
        body = asked("what is in the image ?", max_tokens=380, stream=True)
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
            ended.append("")
            mine = len(ended) - 1
            for text in response.iter_text():
                ended[mine] += text

    threads = [Thread(target=stream) for _ in range(streams)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while len(ended) < streams or not all(ended):
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(server.process.pid, signal.SIGTERM)
    statuses = set()
    while 503 not in statuses and time.monotonic() < until:
        statuses.add(httpx.post(f"{server.url}/v1/chat/completions", json=asked("a"), timeout=10).status_code)
    for thread in threads:
        thread.join(60)
    assert statuses <= {200, 503} and 503 in statuses
    assert all(text.endswith("data: [DONE]\n\n") for text in ended)
    assert server.process.wait(30) == 0, server.process.said()


def test_after_sigkill_clients_see_an_error_and_a_new_server_serves_at_once(forks: Forks, model: Path) -> None:
    server = Server(forks, model)
    body = asked("what ?", max_tokens=380, stream=True)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response,
    ):
        (engine,) = psutil.Process(server.process.pid).children()
        for number, _ in enumerate(response.iter_text()):
            if number == 1:
                server.process.kill()
    until = time.monotonic() + 20
    while engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE:  # it ends by itself
        assert time.monotonic() < until
        time.sleep(0.01)
    again = Server(forks, model, server.port)
    assert httpx.post(f"{again.url}/v1/chat/completions", json=asked("what ?"), timeout=10).status_code == 200
    again.process.kill()


def test_when_its_engine_is_killed_streams_say_so_and_the_server_is_not_healthy(forks: Forks, model: Path) -> None:
    server = Server(forks, model)
    (engine,) = psutil.Process(server.process.pid).children()
    body = asked("what ?", max_tokens=380, stream=True)
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
        events = response.iter_lines()
        next(events)
        engine.kill()
        told = [line for line in events if line.startswith("data: ")]
    assert "the server stopped before the text was whole" in told[-1]
    assert server.health() == 503
    assert httpx.post(f"{server.url}/v1/chat/completions", json=asked("a"), timeout=10).status_code == 503
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(30) == 0, server.process.said()
