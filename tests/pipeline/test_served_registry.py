"""The registry of a served MLflow, whose files go through its proxy."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.tracking.test_registry import CODE, NAME, package

from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.launch.team.backup import free_port
from polite_flamingo.tracking.registry import CHAMPION, ModelRegistry

pytestmark = pytest.mark.pipeline


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of an MLflow server whose files lie below `folder`."""
    port = free_port()
    store = f"--backend-store-uri sqlite:///mlflow.db --artifacts-destination files --workers 1 --port {port}"
    command = [sys.executable, "-m", "mlflow", "server", *store.split()]
    with (
        open(folder / "server.log", "w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                except (urllib.error.URLError, OSError):
                    assert server.poll() is None, (folder / "server.log").read_text()
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()


def test_a_version_goes_to_the_server_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    (tmp_path / "server").mkdir()
    (tmp_path / "echo.py").write_text(CODE)
    (tmp_path / "words.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    with served(tmp_path / "server") as address:
        monkeypatch.setenv(TRACKING_VARIABLE, address)
        registry = ModelRegistry()
        first, second = (registry.register(package(content)) for content in "ab")
        registry.promote(first, None, {})
        registry.promote(second, first, {})
        registry.roll_back(NAME, "why")
        assert registry.history(NAME) == [1]
        assert registry.register(package("b")).number == 2
        assert registry.file(second, "artifacts/words.txt", tmp_path / "back").read_text() == "hello"
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
        assert model.predict([{"question": "you"}])["text"].tolist() == ["hello you 2"]
    assert not (tmp_path / "mlartifacts").exists()
    assert list((tmp_path / "server" / "files").rglob("MLmodel"))
