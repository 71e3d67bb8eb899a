"""The routes of a study: who may see and keep what, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.unit.study.studies import judge_all, study

from polite_flamingo.errors import ConfigError
from polite_flamingo.study.report import standing_of
from polite_flamingo.study.server import HEADERS, MAX_BODY, application, serve
from polite_flamingo.study.store import StudyFile

HOST = "http://127.0.0.1:8790"


@pytest.fixture
def own(tmp_path: Path) -> StudyFile:
    return study(tmp_path, 2)


@pytest.fixture
def client(own: StudyFile) -> TestClient:
    return TestClient(application(own), base_url=HOST)


def _as(own: StudyFile, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {own.tokens()[name]}"}


def _click(client: TestClient, headers: dict[str, str], **fields: object):
    click = {"key": "k" * 16, "item": 0, "round": 1, "kind": "label", "slot": 0, "criterion": "label"}
    body = json.dumps({**click, "value": "matched", **fields})
    return client.post("/api/events", content=body, headers=headers)


def test_only_a_link_of_the_study_opens_it(client: TestClient, own: StudyFile) -> None:
    assert client.get("/").status_code == 200
    for path in ("/api/study", "/api/rounds/1/0", f"/api/images/{own.items()[0].images[0]}"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer x"}).status_code == 401
        assert client.get(path, headers=_as(own, "Anna")).status_code == 200
    assert _click(client, {}).status_code == 401
    assert own.events() == []


def test_who_gave_an_answer_is_never_told(client: TestClient, own: StudyFile) -> None:
    shown = client.get("/api/rounds/1/0", headers=_as(own, "Anna")).json()
    told = "item round dataset question truth also images answers labels places comment done"
    assert set(shown) == set(told.split())
    assert all(isinstance(answer, str) for answer in shown["answers"])


def test_every_answer_of_the_server_forbids_foreign_code(client: TestClient, own: StudyFile) -> None:
    for path in ("/", "/page.js", "/page.css", "/api/study"):
        sent = client.get(path, headers=_as(own, "Anna")).headers
        assert {name: sent.get(name) for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_other_names_and_other_sites_are_refused(client: TestClient, own: StudyFile) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    for origin in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert _click(client, {**_as(own, "Anna"), **origin}).status_code == 403
    assert _click(client, {**_as(own, "Anna"), "Origin": HOST, "Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"value": "wonderful"},
        {"criterion": "colour"},
        {"slot": 3},
        {"slot": -1},
        {"slot": True},
        {"item": 2},
        {"item": "0"},
        {"round": 3},
        {"round": 2},
        {"kind": "drop"},
        {"kind": "seen"},
        {"key": "short"},
        {"key": "k" * 65},
        {"kind": "rank", "value": "[[0],[0]]"},
        {"kind": "rank", "value": "[[5]]"},
        {"kind": "rank", "value": "{}"},
        {"kind": "rank", "value": "[" * 20_000},
        {"kind": "comment", "value": "x" * 4001},
        {"kind": "comment", "value": "\ud800"},
    ],
    ids=str,
)
def test_a_click_that_means_nothing_is_refused_and_not_kept(
    client: TestClient, own: StudyFile, fields: dict[str, object]
) -> None:
    answer = _click(client, _as(own, "Anna"), **fields)
    assert answer.status_code == 422 and answer.json()["error"]
    assert own.events() == []


def test_long_and_broken_bodies_are_refused(client: TestClient, own: StudyFile) -> None:
    for body, status in ((b"x" * (MAX_BODY + 1), 413), (b"{", 422), (b"[]", 422), (b"\xff", 422), (b"[" * 30_000, 422)):
        assert client.post("/api/events", content=body, headers=_as(own, "Anna")).status_code == status


def test_a_click_sent_twice_is_kept_once(client: TestClient, own: StudyFile) -> None:
    assert [_click(client, _as(own, "Anna")).status_code for _ in range(2)] == [200, 200]
    assert len(own.events()) == 1


def test_two_who_save_at_once_both_have_every_click(own: StudyFile) -> None:
    other = StudyFile(own.path)  # as a second process would

    def work(file: StudyFile, name: str) -> None:
        judge_all(file, name, ["matched"] * 6)

    threads = [threading.Thread(target=work, args=pair) for pair in ((own, "Anna"), (other, "Ben"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert standing_of(own).progress()["settled"] == 2 and len(own.events()) == 16


def test_the_first_judgement_is_closed_once_the_others_were_seen(client: TestClient, own: StudyFile) -> None:
    assert client.get("/api/rounds/2/0", headers=_as(own, "Anna")).status_code == 404  # nothing to agree on yet
    judge_all(own, "Anna", ["matched"] * 6)
    judge_all(own, "Ben", ["failed"] * 6)
    shown = client.get("/api/rounds/2/0", headers=_as(own, "Anna")).json()
    assert [one["labels"] for one in shown["others"]] == [[[slot, "label", "failed"] for slot in range(3)]]
    assert _click(client, _as(own, "Anna"), value="failed").status_code == 422
    assert _click(client, _as(own, "Anna"), value="failed", key="2" * 16, round=2).status_code == 200
    assert client.get("/api/rounds/2/0", headers=_as(own, "Ben")).json()["open"] == [[1, "label"], [2, "label"]]


def test_a_port_that_is_taken_is_an_error(own: StudyFile) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be listened on"):
            serve(own, "127.0.0.1", taken.getsockname()[1], ())


def test_events_are_only_appended(own: StudyFile) -> None:
    judge_all(own, "Anna", ["matched"] * 6)
    for change in ("UPDATE event SET value = 'failed'", "DELETE FROM event"):
        with pytest.raises(Exception, match="only appended"):
            own._db.execute(change)
