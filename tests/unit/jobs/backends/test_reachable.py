"""Whether an endpoint answers, asked before a run: what is no API is told from one, and what it has is listed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.unit.cases import case

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.backends.chat_client import EndpointDownError
from polite_flamingo.jobs.backends.reachable import require_endpoint


def answering(monkeypatch: pytest.MonkeyPatch, status: int = 200, **answer: Any) -> None:
    @contextmanager
    def stream(method: str, url: str, **_: Any) -> Iterator[httpx.Response]:
        whole = httpx.Response(status, **answer)
        yield httpx.Response(status, headers=whole.headers, content=iter([whole.content]))

    monkeypatch.setattr(httpx, "stream", stream)


def test_what_is_no_endpoint_is_refused_with_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    page = {"html": "<html>\n<title>nginx sk-secret</title>" + "x" * 500}
    elsewhere = {"headers": {"location": "https://other/v1/models"}}
    for status, answer, told in [
        (200, page, ("web page", "<html> <title>nginx [key]", "ends in /v1", "http://localhost/models")),
        (301, elsewhere, ("sends on", "https://other/v1/models")),
        (401, {"json": {}}, ("key is missing or wrong", "OPENAI_API_KEY")),
    ]:
        with case(status), pytest.raises(ModelError) as error:
            answering(monkeypatch, status, **answer)
            require_endpoint("openai:http://localhost#m")
        assert all(words in str(error.value) for words in told), str(error.value)
        assert len(str(error.value)) < 500 and "secret" not in str(error.value)


def test_nobody_there_is_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(method: str, url: str, **_: Any) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(httpx, "stream", stream)
    with pytest.raises(EndpointDownError, match=r"Connection refused(?s:.*)start its server(?s:.*)nothing was done"):
        require_endpoint("openai:http://localhost:9/v1#m")


def test_a_model_that_is_not_listed_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answering(monkeypatch, json={"data": [{"id": f"m{i}"} for i in range(12)]})
    with caplog.at_level(logging.WARNING):
        require_endpoint("openai:http://localhost/v1#m3")
        assert not caplog.text
        require_endpoint("openai:http://localhost/v1#mine")
    assert "does not list the model 'mine'; it lists m0, m1" in caplog.text and "m9 and 2 more" in caplog.text


def test_a_server_that_lists_no_models_may_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, answer in [
        (404, {"html": "<html>gone"}),
        (200, {"text": "ok"}),
        (503, {}),
        (200, {"json": []}),
    ]:
        with case(status):
            answering(monkeypatch, status, **answer)
            require_endpoint("openai:http://localhost/v1#m")
