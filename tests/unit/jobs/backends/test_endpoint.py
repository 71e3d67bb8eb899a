"""What an endpoint is sent, what is kept of its answers, and what is counted."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from tests.unit.jobs.backends.endpoints import GREEDY, SAMPLED, ask, backend, fine, raw, replying, text_of
from tests.unit.jobs.backends.faulty_server import completion, serving
from tests.unit.jobs.machine import machine

from polite_flamingo.errors import ConfigError
from polite_flamingo.jobs.backends.chat_client import proxy_of
from polite_flamingo.jobs.backends.chat_completion import RecordError, check_url, parse
from polite_flamingo.jobs.backends.load import BackendOptions, load_backend
from polite_flamingo.jobs.backends.text import ChatQuestion
from polite_flamingo.model.settings import GenerationSettings


def test_an_endpoint_gets_model_instruction_draft_images_and_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with serving(fine) as server:
        made = load_backend(f"openai:{server.url}/#some-model", GREEDY, BackendOptions(root, machine()))
        made.answer([ask(1, "red.jpg", "wide.png")])
        made.close()
    body = server.bodies[0]
    assert server.headers_seen[0]["Authorization"] == "Bearer secret-key"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("some-model", 9, 0.0)
    system, user = body["messages"]
    assert isinstance(system["content"], str)
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert "<record 1>" in user["content"][2]["text"]
    assert "Draft answer:\nred\n" in user["content"][2]["text"]


def test_without_a_key_no_authorisation_is_sent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(fine) as server:
        made = load_backend(f"openai:{server.url}#m", GREEDY, BackendOptions(root, machine()))
        made.answer([ask()])
        made.close()
    assert "Authorization" not in server.headers_seen[0]


def test_messages_of_a_distortion_are_sent_as_they_are(root: Path) -> None:
    messages = ({"role": "user", "content": "<record 4> Hello"}, {"role": "assistant", "content": 'Sure: "'})
    with serving(fine) as server:
        made = backend(server.url, root)
        made.answer([ChatQuestion("k", messages)])
        made.close()
    assert server.bodies[0]["messages"] == list(messages)


def test_an_image_is_sent_small_and_without_its_metadata(root: Path) -> None:
    from PIL import Image

    made = backend("http://localhost:1", root, image_edge=300, image_bytes=9000)
    data = base64.b64decode(made._images.make("wide.png").url.removeprefix(b"data:image/jpeg;base64,"))
    assert len(data) <= 9000
    assert max(Image.open(io.BytesIO(data)).size) <= 300
    red = base64.b64decode(made._images.make("red.jpg").url.partition(b",")[2])
    assert Image.open(io.BytesIO(red)).size == (40, 20)
    assert b"private" not in red


def test_a_repair_samples_from_other_random_numbers(root: Path) -> None:
    made = backend("http://localhost:1", root)
    first, again, other = (made._request(ask(1, attempt=a), ()).body for a in (0, 1, 2))
    assert (first["temperature"], again["temperature"]) == (0.0, 1.0)
    assert len({first["seed"], again["seed"], other["seed"]}) == 3
    assert made._request(ask(1), ()).body == first


def test_an_endpoint_that_wants_max_completion_tokens_gets_them(root: Path) -> None:
    with serving(lambda record, number: "400 use 'max_completion_tokens' instead" if number == 0 else None) as server:
        made = backend(server.url, root)
        answers = made.answer([ask(1)])
        made.close()
    assert answers[0].finish_reason == "stop"
    assert "max_tokens" in server.bodies[0]
    assert server.bodies[1]["max_completion_tokens"] == 9
    assert "max_tokens" not in server.bodies[1]


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("temperature", 400, {"message": "Unsupported value: 'temperature' does not support 0.7 with this model."}),
        ("seed", 422, [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]),
        ("top_p", 400, {"message": "Unrecognized request argument supplied: top_p"}),
    ],
)
def test_a_parameter_the_endpoint_does_not_take_is_left_out_once_for_all(
    name: str, status: int, error: Any, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = SAMPLED.model_copy(update={"top_p": 0.9})
    with serving(lambda record, number: None) as server:
        server.refuses = {name: (status, error)}
        made = backend(server.url, root, settings, concurrency=1)
        answers = made.answer([ask(1), ask(2), ask(3)])
        made.close()
    assert [text_of(answer) for answer in answers] == [f"answer to record {n}" for n in (1, 2, 3)]
    assert [name in body for body in server.bodies] == [True, False, False, False]
    assert f"does not take '{name}'" in caplog.text


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://host/v1") is None
    monkeypatch.setenv("ALL_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,.inside.org")
    assert proxy_of("https://host/v1") == "http://proxy:3128"
    assert proxy_of("http://localhost:8000/v1") is proxy_of("https://model.inside.org/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:word@proxy")
    with pytest.raises(ConfigError, match="proxy of this kind") as caught:
        proxy_of("https://host/v1")
    assert "word" not in str(caught.value)


def test_what_is_no_url_is_refused() -> None:
    for url in ("", "host/v1", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(ConfigError, match="not the url"):
            check_url(url)


def test_a_changed_setting_never_gets_a_kept_answer(root: Path, tmp_path: Path) -> None:
    with serving(fine) as server:
        for settings in (GREEDY, GREEDY, GenerationSettings(max_new_tokens=10, num_beams=1, do_sample=False)):
            made = backend(server.url, root, settings, cache=tmp_path / "kept")
            made.answer([ask(1, "red.jpg")])
            made.close()
        (root / "red.jpg").write_bytes((root / "wide.png").read_bytes())
        (root / "red.jpg").rename(root / "red.png")
        made = backend(server.url, root, cache=tmp_path / "kept")
        made.answer([ask(1, "red.png")])
        made.close()
    assert server.tries["record 1"] == 3


def test_a_spoilt_kept_answer_is_asked_for_again(root: Path, tmp_path: Path) -> None:
    with serving(fine) as server:
        made = backend(server.url, root, cache=tmp_path)
        made.answer([ask(1)])
        kept = tmp_path / "answers-000.lines"
        kept.write_bytes(kept.read_bytes().replace(b"answer", b"onswer"))
        assert made.answer([ask(1)])[0].text == "answer to record 1"
        made.close()
    assert server.tries["record 1"] == 2


def test_a_cache_that_cannot_be_written_loses_no_answer(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with serving(fine) as server:
        made = backend(server.url, root, cache=tmp_path / "file")
        assert [a.text for a in made.answer([ask(1), ask(2)])] == ["answer to record 1", "answer to record 2"]
        made.close()


def test_tokens_and_cost_are_counted(root: Path) -> None:
    with serving(fine) as server:
        made = backend(server.url, root, price_in=2.0, price_out=10.0)
        made.answer([ask(1), ask(2)])
        made.close()
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (20, 6)
    assert made.usage.cost == pytest.approx((20 * 2 + 6 * 10) / 1e6)
    assert str(made.usage).startswith("2 answers to 2 requests; 20 tokens in, 6 out; cost"), "as it is logged"


def test_the_identity_follows_whatever_changes_an_answer(root: Path) -> None:
    made = [
        backend("http://a/v1", root),
        backend("http://b/v1", root),
        backend("http://a/v1", root, image_edge=99),
        backend("http://a/v1", root, GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=False, seed=1)),
    ]
    assert len({m.identity for m in made}) == 4
    assert backend("http://a/v1/", root, concurrency=3, timeout=9.0).identity == made[0].identity


@pytest.mark.parametrize("text", [None, "", "<think>Polite, and", "<|channel|>analysis<|message|>Pol"])
def test_a_model_that_spends_its_tokens_on_reasoning_is_asked_once_and_counted(text: str | None, root: Path) -> None:
    with pytest.raises(RecordError, match="turn thinking off") as caught:
        parse(raw(completion(text, "length")))
    assert caught.value.spent == (10, 3)
    body = raw(completion(text, "length"))
    with replying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as url:
        made = backend(url, root, price_out=1e6)
        (answer,) = made.answer([ask()])
        made.close()
    assert "turn thinking off" in answer.reason
    assert (made.usage.requests, made.usage.completion_tokens, made.usage.cost) == (1, 3, 3)


def test_calls_from_several_threads_share_one_bound(root: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    early = ("record 0", "record 10", "record 20")
    with (
        serving(lambda record, number: "together 4" if record in early else None) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        made = backend(server.url, root, concurrency=3)
        batches = [[ask(10 * b + i) for i in range(2)] for b in range(4)]
        texts = [[a.text for a in answers] for answers in pool.map(made.answer, batches)]
        made.close()
    assert texts == [[f"answer to record {10 * b + i}" for i in range(2)] for b in range(4)]
    assert server.most_in_flight == 3
