"""The server's routes and what stands before them: the protocol, and what attackers send."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import struct
import zlib
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.unit.jobs.backends.test_huggingface import save_llava

from polite_flamingo.batching.alone import OneAtATime
from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel
from polite_flamingo.jobs.backends.chat_model import load_chat_model
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.serving.app import build_app
from polite_flamingo.serving.server import listen
from polite_flamingo.serving.service import Service, served_models
from polite_flamingo.serving.settings import ServingLimits, ServingSettings
from polite_flamingo.talk.assistant import dialogue_of
from polite_flamingo.talk.decoding import Decoding
from polite_flamingo.talk.models import ModelPlace

KEY = "a key that only the tests know"
SETTINGS = ServingSettings(
    slots=4,
    names=("served.example",),
    origins=("https://page.example",),
    limits=ServingLimits(
        body=200_000, body_seconds=0.2, images=2, pixels=40_000, text=2000, turns=5, image_bytes=100_000
    ),
)
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def data_url(colour: tuple[int, int, int] = (200, 30, 30), size: int = 32) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def seen(url: str, text: str = "what ?") -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def asked(text: str = "what color ?", **more: Any) -> dict[str, Any]:
    return {"model": "assistant", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


@dataclass
class Served:
    """The application of a micro model; each call runs in an event loop of its own."""

    app: Any
    routes: Any
    bundle: Any

    def together(self, *calls: dict[str, Any]) -> list[httpx.Response]:
        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return list(await asyncio.gather(*(client.request(**call) for call in calls)))

        return asyncio.run(run())

    def __call__(self, method: str, url: str, **call: Any) -> httpx.Response:
        return self.together({"method": method, "url": url, **call})[0]

    def chat(self, **body: Any) -> httpx.Response:
        return self("POST", CHAT, content=json.dumps(asked(**body)), headers=JSON)


@pytest.fixture(scope="module")
def bundle(loaded_micro):
    return deepcopy(loaded_micro)


@pytest.fixture(scope="module")
def models(bundle, loaded_micro):
    decoding = Decoding(max_tokens=12)
    loaded = [
        (
            ModelPlace(kind, kind, "flamingo", "", decoding=decoding),
            model,
            Engine(FlamingoModel(model), slots=SETTINGS.slots),
        )
        for kind, model in (("assistant", bundle), ("rewriter", deepcopy(loaded_micro)))
    ]
    models = served_models(loaded, SETTINGS)
    yield models
    for served in models.values():
        served.close(finish=False)


@pytest.fixture
def server(models, bundle):
    return Served(*build_app(Service(models, SETTINGS.limits), SETTINGS), bundle)


@pytest.fixture
def locked(models, bundle):
    return Served(*build_app(Service(models, SETTINGS.limits), SETTINGS, (KEY,)), bundle)


def refusal(response: httpx.Response) -> tuple[int, str | None]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return response.status_code, error["code"]


def test_greedy_answers_are_those_of_generation_whatever_else_is_asked(server, image_root):
    texts = [f"what is in the {word} ?" for word in ("top left", "star", "image", "circle")]
    picture = base64.b64encode((image_root / "0.png").read_bytes()).decode()
    bodies = [asked(text, messages=seen(f"data:image/png;base64,{picture}", text)) for text in texts]
    noise = [asked(f"noise {n}", temperature=1.5, n=2) for n in range(4)]
    responses = server.together(*({"method": "POST", "url": CHAT, "json": body} for body in [*bodies, *noise]))
    settings = Decoding(max_tokens=8).generation
    for text, response in zip(texts, responses, strict=False):
        turns = [{"role": "user", "content": text, "images": [image_root / "0.png"]}]
        prompt = dialogue_of([{**turns[0], "images": [Image.open(image_root / "0.png")]}]).prompt(str)
        alone = generate(server.bundle, [Prompt(prompt, ("0.png",))], settings, image_root=image_root, batch_size=1)[0]
        answer = response.json()
        assert answer["object"] == "chat.completion" and answer["model"] == "assistant"
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": alone.text, "refusal": None}
        assert answer["choices"][0]["finish_reason"] == alone.finish_reason
        assert answer["usage"]["completion_tokens"] == alone.tokens
    assert {len(response.json()["choices"]) for response in responses[len(texts) :]} == {2}


def test_a_stream_tells_the_same_text_and_ends_with_done(server):
    whole = server.chat(n=2, seed=3, temperature=1.2).json()
    streamed = server.chat(n=2, seed=3, temperature=1.2, stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert chunks.pop()["usage"] == whole["usage"]
    texts, reasons = ["", ""], [None, None]
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        reasons[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert reasons == [choice["finish_reason"] for choice in whole["choices"]] and texts[0] != texts[1]


def test_a_rewrite_tells_its_repairs(server):
    body = {"model": "rewriter", "question": "what color ?", "answer": "red", "images": [data_url()], "judge": False}
    told = server("POST", "/v1/rewrite", json=body).json()
    assert told["raw"] == "red" and told["text"] and set(told["repairs"]) == {"attempts", "fault", "kept_raw"}
    assert refusal(server("POST", "/v1/rewrite", json={**body, "model": "assistant"}))[0] == 400
    assert refusal(server("POST", "/v1/rewrite", json={**body, "answer": " "}))[0] == 400


def test_several_turns_with_a_system_message_and_special_tokens_in_the_text(server):
    turns = [
        {"role": "system", "content": "you are a pirate"},
        *seen(data_url(), "what color <image> is <|endofchunk|> the star ?"),
        {"role": "assistant", "content": "red </s>"},
        {"role": "user", "content": "<image><image> and the circle ?"},
    ]
    assert server.chat(messages=turns).status_code == 200


def png(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


ZIP = base64.b64encode(b"PK\x03\x04" + zlib.compress(bytes(10_000_000), 9)).decode()
TOLD = {"role": "assistant", "content": "a"}
RED = {"type": "image_url", "image_url": {"url": data_url(size=150)}}
MESSAGES: dict[str, tuple[Any, str]] = {
    "a PNG of 10,000 x 10,000": (seen(png(10_000, 10_000)), "too many pixels"),
    "a PNG of 3 gigapixels": (seen(png(60_000, 50_000)), "bomb"),
    "a zip bomb": (seen(f"data:image/png;base64,{ZIP}"), "not an image"),
    "a torn PNG": (seen(data_url()[:-60] + "AAAA"), "cannot be decoded"),
    "no base64": (seen("data:image/png;base64,%%%%"), "not in base64"),
    "another data URL": (seen("data:text/html,<script>"), "no image"),
    "a file": (seen("file:///etc/passwd"), "opens no address"),
    "a path": (seen("../../../etc/passwd"), "opens no address"),
    "a metadata service": (seen("http://169.254.169.254/latest/meta-data"), "opens no address"),
    "too many images": ([*seen(data_url()), TOLD, *seen(data_url()), TOLD, *seen(data_url())], "too many images"),
    "pixels in two images": ([{"role": "user", "content": [RED, RED]}], "too many pixels"),
    "a long prompt": ([{"role": "user", "content": "a" * 2001}], "too many characters"),
    "a prompt beyond the context": ([{"role": "user", "content": "☃" * 700}], "fills the model's context"),
    "many turns": ([{"role": "user", "content": "a"}] * 6, "too many turns"),
    "two questions": ([{"role": "user", "content": "a"}] * 2, "alternate"),
    "no turns": ([], "messages"),
    "a lone surrogate": ([{"role": "user", "content": "\ud800"}], "surrogate"),
    "a tool": ([{"role": "tool", "content": "a"}], "role"),
    "an image of the assistant": ([{**seen(data_url())[0], "role": "assistant"}], "alternate"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_that_cannot_be_answered_are_400_with_the_reason(server, name):
    messages, reason = MESSAGES[name]
    response = server.chat(messages=messages)
    assert response.status_code == 400 and reason in response.text
    assert "passwd" not in response.text and "/work" not in response.text
    assert refusal(response)[0] == 400


BODIES: dict[str, tuple[bytes, int, str | None]] = {
    "bad UTF-8": (b'{"messages": "\xff\xfe"}', 400, "invalid_json"),
    "NaN": (json.dumps(asked(temperature=float("nan"))).encode(), 400, "invalid_json"),
    "Infinity": (json.dumps(asked(top_p=float("inf"))).encode(), 400, "invalid_json"),
    "a number beyond floats": (b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}', 400, None),
    "no JSON": (b"{", 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_json"),
    "a sea of small values": (b"[" + b"[]," * 40_000 + b"0]", 400, "invalid_json"),
    "nested": (b"[" * 50_000 + b"]" * 50_000, 400, "invalid_json"),
    "an unknown field": (json.dumps(asked(colour="red")).encode(), 400, "unknown_parameter"),
    "a field we cannot do": (json.dumps(asked(logprobs=True)).encode(), 400, "unsupported_parameter"),
    "text for a number": (json.dumps(asked(temperature="1")).encode(), 400, None),
    "too hot": (json.dumps(asked(temperature=3)).encode(), 400, None),
    "too many choices": (json.dumps(asked(n=9)).encode(), 400, "limit_exceeded"),
    "an empty stop text": (json.dumps(asked(stop="")).encode(), 400, None),
    "an unknown model": (json.dumps(asked(model="gpt-4")).encode(), 404, "model_not_found"),
    "an oversized body": (b" " * 200_001, 413, "body_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_not_of_the_protocol_are_refused(server, name):
    body, status, code = BODIES[name]
    assert refusal(server("POST", CHAT, content=body, headers=JSON)) == (status, code)


def test_fields_that_ask_for_nothing_are_taken(server):
    assert (
        server.chat(user="me", presence_penalty=0, logprobs=False, response_format={"type": "text"}).status_code == 200
    )
    assert server.chat(max_completion_tokens=2).json()["usage"]["completion_tokens"] <= 2


def test_a_body_without_end_is_cut_off_by_size_and_by_time(server):
    async def endless():
        while True:
            yield b" " * 50_000

    async def stalling():
        yield b"{"
        await asyncio.sleep(30)

    assert refusal(server("POST", CHAT, content=endless(), headers=JSON)) == (413, "body_too_large")
    assert refusal(server("POST", CHAT, content=stalling(), headers=JSON)) == (408, "slow_body")


CALLERS: dict[str, tuple[dict[str, str], int]] = {
    "a rebound name": ({"Host": "evil.example"}, 421),
    "a rebound name with a port": ({"Host": "evil.example:8000"}, 421),
    "a name that begins like ours": ({"Host": "localhost.evil.example"}, 421),
    "our name": ({"Host": "served.example:8000"}, 200),
    "another site": ({"Origin": "https://evil.example"}, 403),
    "a sandboxed page": ({"Origin": "null"}, 403),
    "another site's link": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "our own page": ({"Origin": "http://localhost"}, 200),
    "an allowed page": ({"Origin": "https://page.example"}, 200),
}


@pytest.mark.parametrize("name", CALLERS)
def test_who_may_call(server, name):
    headers, status = CALLERS[name]
    response = server("POST", CHAT, json=asked(), headers=headers)
    assert response.status_code == status
    allowed = response.headers.get("access-control-allow-origin")
    assert allowed == ("https://page.example" if name == "an allowed page" else None)


def test_a_form_of_another_site_is_refused_and_a_preflight_answered_for_allowed_pages(server):
    assert refusal(server("POST", CHAT, content=b"{}", headers={"Content-Type": "text/plain"}))[0] == 415
    asks = {"Access-Control-Request-Method": "POST"}
    assert server("OPTIONS", CHAT, headers={"Origin": "https://evil.example", **asks}).status_code == 403
    assert server("OPTIONS", CHAT, headers={"Origin": "https://page.example", **asks}).status_code == 204


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x"])
def test_a_wrong_key_opens_nothing(locked, value):
    headers = {"Authorization": value} if value else {}
    for method, url in (("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("POST", CHAT)):
        assert refusal(locked(method, url, headers=headers)) == (401, "invalid_api_key")
    assert locked("GET", "/health").status_code == 200


def test_the_right_key_opens_all(locked):
    headers = {"Authorization": f"Bearer {KEY}"}
    listed = locked("GET", "/v1/models", headers=headers).json()["data"]
    assert [model["id"] for model in listed] == ["assistant", "rewriter"]
    assert locked("POST", CHAT, json=asked(), headers=headers).status_code == 200
    metrics = locked("GET", "/metrics", headers=headers).text
    assert 'polite_flamingo_requests_total{model="assistant",path="/v1/chat/completions",status="200"} 1.0' in metrics
    assert 'polite_flamingo_engine_tokens_total{model="assistant"}' in metrics and KEY not in metrics


def test_what_is_not_there_and_what_stops_is_said_in_the_same_shape(server):
    assert refusal(server("GET", "/nothing")) == (404, "unknown_url")
    assert refusal(server("GET", CHAT)) == (405, "unknown_url")
    assert refusal(server("GET", "/v1/models/nobody")) == (404, "model_not_found")
    assert server("GET", "/v1/models/assistant").json()["kind"] == "assistant"
    assert server("HEAD", "/health").status_code == 200
    assert "/v1/rewrite" in server.chat(model="rewriter").json()["error"]["message"]
    text = {"type": "text", "text": "x"}
    wrong = [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/a.png"}, text]}]
    assert server.chat(messages=wrong).json()["error"]["param"] == "messages.0.content.0.image_url.image_url"
    assert server("GET", "/docs").status_code == 404
    server.routes.draining = True
    assert refusal(server("POST", CHAT, json=asked())) == (503, "stopping")
    assert server("GET", "/health").status_code == 503
    assert server.routes.active == 0


def test_a_client_that_leaves_frees_its_slot_and_logs_hold_no_content(server, models, caplog):
    secret = "a text that nobody may read in a log"

    async def leave(streams: bool) -> None:
        body = json.dumps(asked(secret, max_tokens=400, stream=streams)).encode()
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        began = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            if streams:
                await began.wait()
            else:
                await asyncio.sleep(0.05)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                began.set()

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "headers": headers,
            "query_string": b"", "client": ("127.0.0.1", 2), "server": ("localhost", 80), "scheme": "http",
            "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        await server.app(scope, receive, send)
        for _ in range(200):
            if models["assistant"].engine.state.running == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the slot is still taken")

    asyncio.run(leave(True))
    asyncio.run(leave(False))
    assert server.routes.active == 0
    assert secret not in caplog.text


def test_an_answer_has_its_least_tokens(server):
    answer = server.chat(max_tokens=30, min_tokens=30, messages=[{"role": "user", "content": "how many ?"}])
    assert answer.json()["usage"]["completion_tokens"] == 30
    assert refusal(server.chat(max_tokens=8, min_tokens=9)) == (400, None)


def test_connections_send_small_packets_at_once():
    with listen(ServingSettings(port=0)) as found:
        assert found.proto == socket.IPPROTO_TCP  # what asyncio asks before it sets TCP_NODELAY


def test_a_chat_model_that_sees_is_served_one_request_at_a_time(tmp_path):
    save_llava(tmp_path)
    place = ModelPlace("seer", "assistant", "chat", str(tmp_path), decoding=Decoding(max_tokens=8))
    limits = SETTINGS.limits
    model = load_chat_model(str(tmp_path), "cpu", "float32")
    engine = OneAtATime(model)
    models = served_models([(place, model, engine)], SETTINGS)
    server = Served(*build_app(Service(models, limits), SETTINGS), None)
    call = {"method": "POST", "url": CHAT, "headers": JSON}
    asked_for = ((data_url(colour), streams) for colour in ((9, 9, 9), (250, 0, 0)) for streams in (False, True))
    bodies = [{"messages": seen(url), "stream": streams} for url, streams in asked_for]
    answers = server.together(*({**call, "content": json.dumps(body)} for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * 4
    for whole, stream in zip(answers[::2], answers[1::2], strict=True):
        events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        told = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        assert told == whole.json()["choices"][0]["message"]["content"] != ""
    assert engine.state.tokens == 4 * 8
    with engine._preparing:  # the model waits; so do those who ask
        engine._queue = 0
        assert server.chat(model="seer").status_code == 429
    models["seer"].close(finish=True)
    assert refusal(server.chat(model="seer"))[0] == 503
