"""A vision-language judge: its verdicts are read however they are written, cached, and never cost a record."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image as Picture
from tests.unit.filter.scoring import judge as judged_by
from tests.unit.filter.scoring import with_columns
from tests.unit.jobs.backends.faulty_server import completion
from tests.unit.jobs.machine import machine
from tests.unit.jobs.test_ray_pool import FakeRay

from polite_flamingo.filter.judge import JudgeAnswerFilter, JudgeSupportFilter
from polite_flamingo.io.shards import write_shards
from polite_flamingo.jobs.backends.load import BackendOptions, make_backend
from polite_flamingo.prompts.judging import SCHEMA, JudgeVerdict, read_verdict
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.judge import JudgeSettings, JudgingBackend, JudgingJob


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (
            '{"statements": 4, "unsupported": ["a dog"], "same_answer": true, "reason": "no dog"}',
            (0.75, True, "no dog"),
        ),
        ('Sure!\n```json\n{"statements": 2, "unsupported": [], "same_answer": "No"}\n```', (1.0, False, "")),
        ('{"thoughts": {}} {"unsupported": ["x", "y"], "same_answer": true}', (0.0, True, "x; y")),
        ('{"statements": 5, "unsupported": 1, "same_answer": true, "reason": ["odd"]}', (0.8, True, "['odd']")),
        (
            r'{"unsupported": [], "same_answer": true, "reason": "\u001b[31mno\u0000 \u202edog"}',
            (1.0, True, "[31mno dog"),
        ),
        ('{"statements": 4, "unsupported": [], "same_ans', None),
        ('{"statements": 4, "unsupported": [], "same_answer": 1}', None),
        ('{"statements": 4, "unsupported": -1, "same_answer": true}', None),
        ('{"statements": 4, "unsupported": true, "same_answer": true}', None),
        ("{" * 3000, None),
        ("It is fine.", None),
    ],
)
def test_a_verdict_is_read_however_it_is_written(reply, verdict):
    assert read_verdict(reply) == (None if verdict is None else JudgeVerdict(*verdict))


class JudgeServer(BaseHTTPRequestHandler):
    """Finds every dog unsupported; a record that asks for it is answered out of form, at first or always."""

    asked: ClassVar[list[dict[str, Any]]] = []
    refuses_format = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text = body["messages"][-1]["content"][-1]["text"].partition("Answer to check:\n")[2].partition("\n\n")[0]
        counted = [b for b in self.asked if not (self.refuses_format and "response_format" in b)]
        first = sum(text in json.dumps(b["messages"]) for b in counted) == 1
        if self.refuses_format and "response_format" in body:
            self._send(400, {"error": "unknown field response_format"})
        elif "never" in text or ("later" in text and first):
            self._send(200, completion("I cannot say."))
        else:
            lacking = ["a dog"] if "dog" in text else []
            verdict = {"statements": 2, "unsupported": lacking, "same_answer": "red" in text, "reason": "as seen"}
            self._send(200, completion(json.dumps(verdict)))

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(JudgeServer, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), JudgeServer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"openai:http://127.0.0.1:{server.server_port}/v1#judge"
    server.shutdown()
    server.server_close()


TEXTS = ["It is red.", "It is blue, beside a dog.", "It is red, told later.", "It is never red.", "Text alone, red."]


def job_of(folder: Path, backend: str | None, name: str = "journal") -> JudgingJob:
    if not (folder / "rewrites").exists():
        with Picture.new("RGB", (8, 8)) as picture:
            picture.save(folder / "a.png")
        rewrites = [
            Rewrite(
                f"s/{i}", "s", "all", "-", Task.VQA, "Which colour?", (Image("a.png"),) * (i < 4), "red", text, "stop"
            )
            for i, text in enumerate(TEXTS)
        ]
        write_shards(folder / "rewrites", (rewrite.to_row() for rewrite in rewrites))
    options = BackendOptions(folder, machine(), cache=folder / "answers")
    return JudgingJob(folder / "rewrites", folder / name, JudgeSettings(backend=backend, attempts=1), options)


@pytest.mark.parametrize("refuses", [False, True])
def test_every_rewrite_with_an_image_is_judged_and_none_is_lost(tmp_path, endpoint, monkeypatch, refuses):
    monkeypatch.setattr(JudgeServer, "refuses_format", refuses)
    job = job_of(tmp_path, endpoint)
    job.run()
    good = {"judge_supported": 1.0, "judge_other_answer": 0, "judge_reason": "as seen"}
    dog = {"judge_supported": 0.5, "judge_other_answer": 1, "judge_reason": "as seen"}
    assert list(job.columns()) == [good, dog, good, {}, {}]
    counts = job.counts()
    assert counts is not None
    assert (counts["asked"], counts["asked_again"], counts["malformed"], counts["failed"]) == (4, 1, 1, 0)
    sent = [body.get("response_format", {}).get("json_schema", {}).get("schema") for body in JudgeServer.asked]
    assert (sent[-1] is None) is refuses and SCHEMA in sent
    assert all(body["messages"][1]["content"][0]["type"] == "image_url" for body in JudgeServer.asked)
    before = len(JudgeServer.asked)
    job.run()  # the journal
    again = job_of(tmp_path, endpoint, "another")
    again.run()  # the answers kept
    assert len(JudgeServer.asked) == before and list(again.columns()) == list(job.columns())


def test_a_pool_on_a_cluster_gives_the_same_verdicts(tmp_path, endpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    here, pooled = job_of(tmp_path, endpoint), job_of(tmp_path, endpoint, "pooled")
    here.run()
    on_ray = machine().model_copy(update={"engine": "ray", "workers": 2})
    pooled = replace(pooled, options=replace(pooled.options, machine=on_ray, cache=None))
    pickle.dumps(partial(make_backend, endpoint, pooled.decoding, pooled.asking, partial(JudgingBackend, attempts=1)))
    pooled.run()
    assert list(pooled.columns()) == list(here.columns()) and len(list(pooled.columns())) == len(TEXTS)


def test_nobody_judges_while_no_backend_is_named(tmp_path):
    job = job_of(tmp_path, None)
    assert job.run() is None and job.counts() is None
    assert list(job.columns()) == [{}] * len(TEXTS)


def test_the_filters_reject_in_the_judges_words():
    record = Rewrite("s/1", "s", "all", "-", Task.VQA, "Which?", (), "red", "It is blue.", "stop")
    found = with_columns(record, rouge_l=0.3, judge_supported=0.5, judge_other_answer=1, judge_reason="no dog")
    assert judged_by(JudgeSupportFilter(min_supported=0.5), found).kept
    assert judged_by(JudgeSupportFilter(min_supported=0.51), found).reason == "judge_supported: 0.50 below 0.51: no dog"
    assert judged_by(JudgeAnswerFilter(reject_other=True), found).reason == "judge_other_answer: no dog"
    for unjudged in (with_columns(record, rouge_l=0.3), found):
        assert judged_by(JudgeSupportFilter(), unjudged).kept and judged_by(JudgeAnswerFilter(), unjudged).kept
    unjudged = with_columns(record, rouge_l=0.3)
    assert judged_by(JudgeSupportFilter(min_supported=1.0), unjudged).kept
