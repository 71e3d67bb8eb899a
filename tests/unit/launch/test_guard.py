"""Prefect's server behind its guard: what browsers and programs may ask."""

from __future__ import annotations

import pytest
from mlflow.server.security_utils import is_allowed_host_header
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from polite_flamingo.launch.guard import Guard, mlflow_hosts

HOST = "127.0.0.1:4200"
FOLLOWED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
HOSTS = (
    "evil.example",
    "evil.example:4200",
    "127.0.0.1.evil.example",
    "10.evil.example",
    "[",
    "",
    "localhost@evil.example:1",
)
ORIGINS = ("https://evil.example", "null", "file://", f"ftp://{HOST}", "http://127.0.0.1:8000", "http://localhost:4200")


def _client(**public: tuple[str, ...]) -> TestClient:
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("open")

    async def page(_: object) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", page, methods=["GET", "POST"]), WebSocketRoute("/live", socket)])
    return TestClient(Guard(app, **public), base_url=f"http://{HOST}")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        *(("GET", {"Host": host}) for host in HOSTS),
        *(("POST", {"Origin": origin}) for origin in ORIGINS),
        ("GET", {"Origin": "https://evil.example"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
        ("POST", FOLLOWED),
    ],
    ids=str,
)
def test_a_foreign_page_is_refused(method: str, headers: dict[str, str]) -> None:
    assert _client().request(method, "/", headers=headers).status_code == 403
    if "Sec-Fetch-Site" not in headers:
        with pytest.raises(WebSocketDisconnect), _client().websocket_connect(f"ws://{HOST}/live", headers=headers):
            pass


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:9999"},
        {"Host": "[::1]:4200"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"},
        FOLLOWED,
    ],
    ids=str,
)
def test_own_pages_programs_and_followed_links_are_answered(headers: dict[str, str]) -> None:
    answer = _client().get("/", headers=headers)
    assert answer.text == "page" and answer.headers["x-frame-options"] == "SAMEORIGIN"
    if headers is not FOLLOWED:
        with _client().websocket_connect(f"ws://{HOST}/live", headers=headers) as live:
            assert live.receive_text() == "open"


def test_a_proxys_name_is_answered_where_it_is_named() -> None:
    headers = {"Host": "runs.example", "Origin": "https://runs.example"}
    assert _client().post("/", headers=headers).status_code == 403
    assert _client(public=("runs.example",)).post("/", headers=headers).status_code == 200
    assert _client(public=("runs.example",)).post("/", headers={"Origin": "https://runs.example"}).status_code == 200


@pytest.mark.parametrize("host", HOSTS)
def test_mlflow_is_told_the_same_names(host: str) -> None:
    allowed = mlflow_hosts(public=("runs.example",))[1].split(",")
    assert not is_allowed_host_header(allowed, host)
    assert all(is_allowed_host_header(allowed, own) for own in (HOST, "localhost", "[::1]:5000", "runs.example"))
