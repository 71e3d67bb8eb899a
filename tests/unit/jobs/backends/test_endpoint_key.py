"""A key reaches the endpoint and nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.unit.jobs.backends.endpoints import ask, backend, replying
from tests.unit.jobs.backends.faulty_server import serving

from polite_flamingo.errors import ConfigError, ModelError, hide, keep_secret
from polite_flamingo.jobs.backends.chat_completion import check_url
from polite_flamingo.jobs.backends.text import TEXTS
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor

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
