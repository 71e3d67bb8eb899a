"""A server that is not ours behind the five commands: `transformers serve` with a Llama of some thousand parameters."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.unit.jobs.backends.test_huggingface import TEMPLATE, save_llama
from tests.unit.start.test_init import photographs, table

from polite_flamingo.cli import main
from polite_flamingo.io.shards import read_shards
from polite_flamingo.params.reading import load_params

STARTS, ANSWERS = 120, 300  # seconds


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("the server is not installed: pip install 'transformers[serving]'")
    folder = tmp_path_factory.mktemp("serve")
    save_llama(folder / "llama")
    (folder / "llama" / "chat_template.jinja").write_text(TEMPLATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model, root = folder / "llama", f"http://127.0.0.1:{port}"
    command = ["-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu", "--host", "127.0.0.1"]
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        ) as server,
    ):
        try:
            _await(f"{root}/health", server, folder / "log")
            yield f"openai:{root}/v1#{model}"
        finally:
            server.terminate()


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=1).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_server_of_a_library_rewrites(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "photos" / "questions.csv", photographs(tmp_path / "photos", 3))
    assert main(["init", "photos", "--rewriter", endpoint, "--yes"]) == 0
    profile = Path("configs/profiles/photos.yaml")
    text = profile.read_text().replace("max_new_tokens: 256", "max_new_tokens: 24")
    profile.write_text(f"{text}runtime: {{tracking: none, endpoint: {{concurrency: 1, timeout: {ANSWERS}}}}}\n")
    capsys.readouterr()
    assert main(["preview", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["records"]) == 3 and shown["whole"]["tokens_in"] > 100
    for stage in load_params().stages:
        assert stage.startswith("check_") or main([stage]) == 0, stage
    assert main(["export", "llava"]) == 0
    kept = json.loads(Path("data/photos/exports/llava/llava.json").read_text())
    told = {record["id"]: record["rewritten"] for record in shown["records"] if record["kept"]}
    answers = {row["id"]: row["rewritten"] for row in read_shards(Path("data/photos/rewrites"))}
    assert answers == {record["id"]: record["rewritten"] for record in shown["records"]} and all(answers.values())
    assert {record["id"]: record["conversations"][1]["value"] for record in kept} == told  # bought once
