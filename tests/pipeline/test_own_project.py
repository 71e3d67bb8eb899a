"""From a folder of photographs to an export, as docs/quickstart.md shows it: no file is edited."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.jobs.backends.faulty_server import completion
from tests.unit.start.forms import FORMS
from tests.unit.start.test_init import photographs, table

from polite_flamingo.cli import main
from polite_flamingo.params.reading import load_params

PROJECT = Path(__file__).resolve().parents[2]


class Rewriter(BaseHTTPRequestHandler):
    """Lists one model, and puts a sentence around the draft."""

    def do_GET(self) -> None:
        self._send({"data": [{"id": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        draft = re.search(r"Draft answer:\n(.+)", json.dumps(body["messages"][-1]["content"]).replace("\\n", "\n"))
        assert draft is not None
        self._send(completion(f"As far as one can see: {draft[1]}, and so much for this picture."))

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def _send(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rewriter)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"openai:http://127.0.0.1:{server.server_port}/v1#model"
    server.shutdown()
    server.server_close()


@pytest.mark.pipeline
def test_twelve_questions_become_polite_answers(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    table(tmp_path / "photos" / "questions.csv", photographs(tmp_path / "photos", 12))
    assert main(["init", "photos", "--rewriter", endpoint, "--yes"]) == 0
    stages = load_params().stages
    assert {stage.addressing for stage in Repo().index.stages} == {f"{name}@photos" for name in stages}
    written = (
        Path("configs/profiles/photos.yaml").read_text().replace(endpoint, "openai:http://localhost:8000/v1#my-model")
    )
    assert written in (PROJECT / "docs" / "quickstart.md").read_text()
    with open("configs/profiles/photos.yaml", "a") as profile:
        profile.write("runtime: {tracking: none}\n")
    for stage in stages:  # as DVC runs them; a gate writes nothing that the others read
        assert stage.startswith("check_") or main([stage]) == 0, stage
    assert main(["export", "llava"]) == 0
    capsys.readouterr()
    assert main(["report"]) == 0
    report = capsys.readouterr().out
    assert "12 of 12 rewrites kept" in report and "sts, paragraphs, nli: the profile names no scorer" in report
    assert "answers preserved" not in report  # nobody knows the truth here
    (exported,) = Path("data/photos/exports").rglob("llava.json")
    first = json.loads(exported.read_text())[0]
    assert first["conversations"][1]["value"] == "As far as one can see: 2, and so much for this picture."
    assert first["image"] == "photos/1.png"


@pytest.mark.pipeline
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_goes_through(
    form: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("polite_flamingo.start.profile.SENTENCES", "none")  # a model that takes seconds to load
    make, expected = FORMS[form]
    make(tmp_path / form)
    assert main(["init", form, "--rewriter", endpoint, "--yes"]) == 0
    with open(f"configs/profiles/{form}.yaml", "a") as profile:
        profile.write("runtime: {tracking: none}\n")
    capsys.readouterr()
    assert main(["preview"]) == 0
    assert f"{len(expected)} of {len(expected)} kept" in capsys.readouterr().out
    for stage in ("download", "rewrite", "score", "filter"):  # without the gates, which other tests run
        assert main([stage]) == 0, stage
    assert main(["export", "llava", "--with-images"]) == 0
    exported = Path("data", form, "exports", "llava")
    records = json.loads((exported / "llava.json").read_text())
    assert [(r["task"], json.loads(r["details"])["raw_answer"].split("\n")[0]) for r in records] == expected
    for record in records:
        asked, answered = record["conversations"]
        images = record.get("image", [])
        images = images if isinstance(images, list) else [images]
        assert asked["value"].count("<image>") == len(images) == sum((exported / i).is_file() for i in images)
        assert answered["value"].startswith("As far as one can see: ")


def test_an_endpoint_that_is_down_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "photos" / "questions.csv", photographs(tmp_path / "photos"))
    assert main(["init", "photos", "--rewriter", "openai:http://127.0.0.1:9/v1#model", "--yes"]) == 0
    assert main(["run"]) == 2
    assert "endpoint does not answer" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
