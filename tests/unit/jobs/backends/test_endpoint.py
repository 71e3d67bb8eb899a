"""What an endpoint is sent, what is kept, and which failures concern whom."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.unit.jobs.backends.faulty_server import completion, serving
from tests.unit.jobs.machine import machine

from polite_flamingo.errors import ConfigError, ModelError, hide, keep_secret
from polite_flamingo.jobs.backends.chat_client import proxy_of
from polite_flamingo.jobs.backends.chat_completion import PassingError, RecordError, check_url, parse, retry_after
from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.backends.load import BackendOptions, load_backend
from polite_flamingo.jobs.backends.text import TEXTS, ChatQuestion
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor, answer_safely
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import EndpointSettings
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion

SAMPLED = GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=True, temperature=0.7)
GREEDY = GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    Image.effect_noise((900, 300), 80).convert("RGB").save(folder / "wide.png")
    exif = Image.Exif()
    exif[0x010E] = "a private description"
    Image.new("RGB", (40, 20), "red").save(folder / "red.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


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


# What is sent


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


# Failures


def test_a_refused_record_keeps_its_reason_and_the_others_their_answers(root: Path) -> None:
    with serving(lambda record, number: "400" if record == "record 2" else None) as server:
        made = backend(server.url, root)
        answers = made.answer([ask(1), ask(2), ask(3)])
        made.close()
    assert [text_of(a) for a in answers] == ["answer to record 1", None, "answer to record 3"]
    assert answers[1].reason.startswith("error: HTTP 400: ")
    assert server.tries["record 2"] == 1


def test_a_record_that_fails_again_and_again_ends_after_the_stated_tries(root: Path) -> None:
    with serving(lambda record, number: "500" if record == "record 2" else None) as server:
        made = backend(server.url, root, attempts=3)
        answers = made.answer([ask(1), ask(2)])
        made.close()
    assert answers[1] == Failure('error: HTTP 500: {"error": "on order: 500"}')
    assert server.tries["record 2"] == 3


def test_a_broken_image_concerns_its_record_alone(root: Path) -> None:
    with serving(fine) as server:
        made = backend(server.url, root)
        answers = made.answer([ask(1, "broken.png"), ask(2, "red.jpg"), ask(3, "../secret.png")])
        made.close()
    assert [getattr(a, "reason", "") for a in answers] == [
        "error: image cannot be decoded", "", "error: image path leaves the data root",
    ]  # fmt: skip


def test_what_concerns_every_record_ends_the_call_at_once(root: Path) -> None:
    statuses = ("401", "403", "404", "302")
    with serving(lambda record, number: statuses[int(record.split()[1])]) as server:
        made = backend(server.url, root, concurrency=1)
        for number, status in enumerate(statuses):
            with pytest.raises(ModelError, match=f"answered {status}"):
                made.answer([ask(number), ask(3 - number)])
            assert sum(server.tries.values()) == number + 1, status
        made.close()


def test_an_endpoint_gone_for_good_is_given_up(root: Path) -> None:
    with serving(lambda record, number: "500") as server:
        made = backend(server.url, root, attempts=2, give_up_after=5, concurrency=1)
        with pytest.raises(ModelError, match="does not answer"):
            made.answer([ask(i) for i in range(50)])
        made.close()
    assert sum(server.tries.values()) == 10


def test_nobody_listening_is_an_error_of_ours(root: Path) -> None:
    made = backend("http://127.0.0.1:9/v1", root, attempts=2)
    with pytest.raises(ModelError, match="does not answer"):
        made.answer([ask()])
    made.close()


def test_answers_from_before_the_endpoint_was_gone_are_kept(root: Path, tmp_path: Path) -> None:
    with serving(lambda record, number: None if record in ("record 1", "record 2") else "401") as server:
        made = backend(server.url, root, concurrency=1, cache=tmp_path / "kept")
        with pytest.raises(ModelError):
            made.answer([ask(1), ask(2), ask(3)])
        server.plan = fine
        assert [a.text for a in made.answer([ask(i) for i in (1, 2, 3)])] == [
            f"answer to record {i}" for i in (1, 2, 3)
        ]
        made.close()
    assert server.tries == {"record 1": 1, "record 2": 1, "record 3": 2}


def test_an_answer_that_drips_in_forever_is_cut_at_the_time_out(root: Path) -> None:
    with serving(lambda record, number: "drip without end", timeout=30.0) as server:
        made = backend(server.url, root, timeout=0.5, attempts=1)
        start = time.monotonic()
        answers = made.answer([ask()])
        seconds = time.monotonic() - start
        made.close()
    assert answers[0].reason == "error: no whole answer within 0.5 s"
    assert seconds < 10


def test_an_answer_longer_than_the_bound_is_refused_also_one_that_grows_when_unpacked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polite_flamingo.jobs.backends.chat_client.MAX_ANSWER_BYTES", 100_000)
    with serving(lambda record, number: {"record 1": "long", "record 2": "packed"}.get(record)) as server:
        made = backend(server.url, root)
        answers = made.answer([ask(1), ask(2), ask(3)])
        made.close()
    assert [getattr(a, "reason", "") for a in answers] == ["error: the answer is longer than 100000 bytes"] * 2 + [""]


def test_a_packed_answer_costs_no_more_memory_than_the_bound(root: Path) -> None:
    import gzip

    bomb = gzip.compress(bytes(40 << 20))
    head = "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nContent-Length: {}\r\n\r\n"
    for coding, body, said in (
        ("gzip", bomb, "longer than"),
        ("gzip, gzip", gzip.compress(bomb), "not asked for"),
        ("br", b"x", "not asked for"),
    ):
        with replying(head.format(coding, len(body)).encode() + body) as url:
            made = backend(url, root, attempts=1)
            tracemalloc.start()
            (answer,) = made.answer([ask()])
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            made.close()
        assert said in answer.reason
        assert most < 25 << 20


def test_a_call_that_runs_while_the_backend_is_closed_ends_and_asks_for_no_more(root: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with serving(lambda record, number: "silence", timeout=1.0) as server, ThreadPoolExecutor(1) as pool:
        made = backend(server.url, root, concurrency=1)
        running = pool.submit(answer_safely, made, [ask(1), ask(2)])
        while not server.tries:
            time.sleep(0.005)
        made.close()
        with pytest.raises(ModelError, match="closed"):
            running.result(5)
    assert server.tries == {"record 1": 1}


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


# Retry-After


def test_a_retry_after_holds_back_every_request(root: Path) -> None:
    with serving(lambda record, number: "429 with seconds" if (record, number) == ("record 0", 0) else None) as server:
        made = backend(server.url, root, concurrency=1)
        made.answer([ask(0), ask(1)])
        made.close()
    waits = [after - before for before, after in zip(server.arrivals, server.arrivals[1:], strict=False)]
    assert waits[0] >= 0.19  # the server named 0.2 s


def test_a_retry_after_longer_than_one_waits_ends_the_call(root: Path) -> None:
    with serving(lambda record, number: "429 with seconds") as server:
        made = backend(server.url, root, longest_wait=0.1)
        with pytest.raises(ModelError, match="left alone"):
            made.answer([ask()])
        made.close()


def test_a_retry_after_may_be_seconds_a_date_or_nonsense() -> None:
    assert retry_after("7.5") == 7.5
    assert 25 < retry_after(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert [retry_after(v) for v in ("", "soon", "nan", "inf", "-3", formatdate(0, usegmt=True))] == [0.0] * 6


# The key


def test_the_key_is_neither_logged_nor_told_nor_kept(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret"
    with serving(lambda record, number: {0: "500", 1: None}.get(number)) as server, caplog.at_level(logging.DEBUG):
        made = backend(server.url, root, key=key, cache=tmp_path / "kept")
        made.answer([ask()])
        excerpt = str(ModelError("refused", value=f"Incorrect key {key}"))
        made.close()
    assert key not in caplog.text
    assert key not in excerpt
    assert key not in repr(made)
    assert made.identity == backend(server.url, root).identity
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 1
    assert key not in kept[0].read_text()


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in "sk-very-secret-0123456789")
ECHOES = {
    "refusal": b"HTTP/1.1 400 Bad\r\nContent-Length: 40\r\n\r\nbad key KEY        ",
    "escaped refusal": b'HTTP/1.1 422 Bad\r\nContent-Length: 180\r\n\r\n{"e": "ESCAPED"}' + b" " * 170,
    "header": b"HTTP/1.1 200 OK\r\nX KEY\r\n\r\n",
    "status line": b"HTTP/KEY 200 OK\r\n\r\n",
    "location": b"HTTP/1.1 302 Found\r\nLocation: /KEY\r\nContent-Length: 3\r\n\r\nKEY",
    "retry-after": b"HTTP/1.1 429 KEY\r\nRetry-After: KEY\r\nContent-Length: 3\r\n\r\nKEY" + b" " * 9,
    "cut off": b"HTTP/1.1 400 Bad\r\nContent-Length: 320\r\n\r\n" + b"x" * 280 + b" KEY" + b" " * 40,
    "answer": b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"choices": [{"message": {"content": "KEY"}}]}'
    + b" " * 60,
}


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


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_a_server_repeats_reaches_no_log_no_error_and_no_journal(
    echo: str, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret-0123456789"
    reply = ECHOES[echo].replace(b"KEY", key.encode()).replace(b"ESCAPED", ESCAPED.encode())
    told = ""
    with replying(reply) as url, caplog.at_level(logging.DEBUG):
        made = backend(url, root, key=key, cache=tmp_path / "kept", attempts=2, pause=0.01, longest_pause=0.01)
        try:
            run(Job(TEXTS, tmp_path / "journal", root), [ask()], LocalExecutor(made))
        except ModelError as error:
            told = f"{error} {error.value}"
        logging.getLogger("httpcore").debug("receive_response_headers %r", [(b"Location", key.encode())])
        logging.getLogger("x").error("it failed", exc_info=ValueError(f"bad {key}"))
        made.close()
    written = "".join(path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*.lines"))
    if not told:
        (outcome,) = Job(TEXTS, tmp_path / "journal", root).outcomes()
        written += f"{outcome.reason} {outcome.answer}"
    lines = "".join(logging.Formatter().format(record) for record in caplog.records)
    for text in (told, written, lines, caplog.text):
        assert key not in text
        assert key[:14] not in text, "nor half of it"
        assert ESCAPED[:60] not in text
    assert told or "outcome" in locals()


def test_a_word_that_is_no_secret_is_left_alone() -> None:
    keep_secret("EMPTY")
    keep_secret(None)
    assert hide("EMPTY 100% \\u0041") == "EMPTY 100% \\u0041"


def test_a_url_with_a_secret_in_it_is_refused_without_repeating_it() -> None:
    for url in ("https://user:word@host/v1", "https://host/v1?key=word", "https://host/v1#word"):
        with pytest.raises(ConfigError) as caught:
            check_url(url)
        assert "word" not in str(caught.value), url


def test_what_is_no_url_is_refused() -> None:
    for url in ("", "host/v1", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(ConfigError, match="not the url"):
            check_url(url)


# The cache, the counts, the identity


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


# Answers


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_an_answer_that_was_cut_off_says_so() -> None:
    assert parse(raw(completion("red", "length"))).finish_reason == "length"


def test_content_in_parts_and_lone_surrogates_become_plain_text() -> None:
    parts = [{"type": "text", "text": "red "}, {"type": "text", "text": "\ud800car"}]
    value = completion("")
    value["choices"][0]["message"]["content"] = parts
    assert parse(raw(value)).text == "red ?car"


def test_what_is_no_completion_is_worth_another_try() -> None:
    empty = (raw({"choices": [None]}), raw(completion("  ")), raw(completion(None)))
    for data in (b"", b"null", b"[]", b"[" * 100_000, *empty):
        with pytest.raises(PassingError):
            parse(data)
    page = b"<html>\n  <body>" + b"x" * 100
    with pytest.raises(PassingError, match=r"^no chat completion but '<html> <body>x{67}'$"):
        parse(page)


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nPolite.\n</think>\n\nIt is a cat.",
        "Polite.</think>It is a cat.",
        "It is a cat.<|im_end|>",
        "It is a cat.</s> <|end|>",
        "It is a cat.<think>Was that",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>It is a cat.<|return|>",
        [{"type": "reasoning", "text": "Polite."}, {"type": "text", "text": "It is a cat."}],
        [{"type": "thinking", "thinking": "Polite."}, {"type": "output_text", "text": "It is a cat."}],
    ],
)
def test_reasoning_and_template_are_no_part_of_the_answer(text: Any) -> None:
    assert parse(raw(completion(text))).text == "It is a cat."


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


@pytest.mark.parametrize("tokens", [2**63, -1, True, 1.5, "3", None, [1]])
def test_a_count_nobody_could_mean_is_none(tokens: Any) -> None:
    value = completion("red")
    value["usage"]["completion_tokens"] = tokens
    assert parse(raw(value)).completion_tokens is None


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


def test_a_refusal_is_final() -> None:
    value = completion(None)
    value["choices"][0]["message"]["refusal"] = "I will not."
    for answer in (value, completion("half", "content_filter")):
        with pytest.raises(RecordError, match="refused"):
            parse(raw(answer))


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
