"""Which failures of an endpoint concern whom, and how long it is left alone."""

from __future__ import annotations

import time
import tracemalloc
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.unit.jobs.backends.endpoints import ask, backend, fine, replying, text_of
from tests.unit.jobs.backends.faulty_server import serving

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.backends.chat_completion import retry_after
from polite_flamingo.jobs.executor import answer_safely
from polite_flamingo.jobs.questions import Failure


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
