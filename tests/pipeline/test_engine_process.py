"""An engine in a process of its own: the same texts and errors as in this one, and either side's death is noticed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.model.micro import build_micro

from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel
from polite_flamingo.batching.tickets import (
    EngineClosedError,
    EngineRequest,
    PromptTooLongError,
    QueueFullError,
    RequestCancelledError,
    RequestTimeoutError,
)
from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.serving.engine_process import EngineProcess
from polite_flamingo.talk.models import ModelPlace

pytestmark = pytest.mark.pipeline
PROMPT = "### Human: <image><|endofchunk|>{}\n### Assistant: "
SETTINGS = GenerationSettings(max_new_tokens=12, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
LONG = EngineRequest(
    "### Human: a\n### Assistant: ", settings=SETTINGS.model_copy(update={"max_new_tokens": 400}), min_tokens=400
)


def started(folder: Path, **sizes: int) -> EngineProcess:
    place = ModelPlace("micro", "assistant", "flamingo", str(folder))
    engine = EngineProcess(place, device="cpu", **sizes)
    engine.wait()
    return engine


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_flamingo(build_micro(tie=False), folder)
    return folder


@pytest.fixture(scope="module")
def here(folder: Path) -> FlamingoBundle:
    return load_flamingo(folder, device="cpu")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[EngineProcess]:
    engine = started(folder, slots=2, queue=1)
    yield engine
    engine.close(finish=False)


def test_its_texts_are_those_of_an_engine_here(engine: EngineProcess, here: FlamingoBundle) -> None:
    local = Engine(FlamingoModel(here))
    words = ("what color ?", "how many ?", "where ?")
    requests = [
        EngineRequest(PROMPT.format(text), (Image.new("RGB", (40, 40), (90 * n, 9, 9)),), SETTINGS)
        for n, text in enumerate(words)
    ]
    try:
        expected = [local.submit(request).result(60) for request in requests]
    finally:
        local.close(finish=False)
    assert len({completion.text for completion in expected}) == 3
    tickets = [engine.submit(request) for request in requests]
    assert [ticket.result(60) for ticket in tickets] == expected
    assert ["".join(ticket) for ticket in tickets] == [completion.text for completion in expected]
    assert engine.count(requests[0].prompt, requests[0].images) == expected[0].prompt_tokens
    assert (engine.state.running, engine.state.tokens) == (0, sum(completion.tokens for completion in expected))


def test_what_cannot_be_done_is_said_as_by_an_engine_here(engine: EngineProcess) -> None:
    with pytest.raises(DataError, match="shows 1 images and has 0"):
        engine.submit(EngineRequest(PROMPT.format("a")))
    with pytest.raises(PromptTooLongError):
        engine.submit(EngineRequest("a " * engine.context))
    with pytest.raises(RequestTimeoutError, match=r"0\.001 seconds"):
        engine.submit(replace(LONG, timeout=0.001)).result(60)
    taken = [engine.submit(LONG) for _ in range(3)]
    with pytest.raises(QueueFullError) as busy:
        engine.submit(LONG)
    assert busy.value.retry_after >= 1
    for ticket in taken:
        ticket.cancel()
        with pytest.raises(RequestCancelledError):
            ticket.result(60)
    wait_until(lambda: engine.state.running == 0)


def test_closing_finishes_what_was_taken_and_a_killed_engine_fails_it(folder: Path) -> None:
    closing, killed = (EngineProcess(ModelPlace("micro", "assistant", "flamingo", str(folder))) for _ in range(2))
    closing.wait()
    ticket = closing.submit(LONG)
    os.kill(closing._process.pid, signal.SIGTERM)  # its server's affair
    closing.close(timeout=60)
    assert ticket.result(10).tokens == 400
    with pytest.raises(EngineClosedError, match="is stopping"):
        closing.submit(LONG)
    killed.wait()
    ticket = killed.submit(LONG)
    killed._process.kill()
    with pytest.raises(EngineClosedError, match="before the text was whole"):
        ticket.result(10)
    assert not killed.alive
    killed.close()


def test_a_model_that_cannot_be_loaded_is_said_by_whoever_asked_for_it(tmp_path: Path) -> None:
    save_flamingo(build_micro(tie=False), tmp_path)
    (tmp_path / "connector.safetensors").unlink()
    with pytest.raises(ModelError, match=r"connector\.safetensors"):
        started(tmp_path)
