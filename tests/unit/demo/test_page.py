"""The demo's page in a real browser with stub models, and what its server refuses; one server for all tests.

Skipped where Gradio or a browser is missing: `pip install -e '.[dev]'`, `playwright install chromium`.
"""

from __future__ import annotations

import json
import signal
import struct
import threading
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image as PILModule
from tests.unit.cases import case

from polite_flamingo import cli
from polite_flamingo.errors import ModelError
from polite_flamingo.filter.chain import Decision, FilterResult
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.talk.judging import RewriteJudgement

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed (pip install -e '.[dev]')")
ROOT = Path(__file__).parents[3]
HOSTILE = "<img src=x onerror=window.hit=1> **bold** [a](http://evil.test/) ${window.hit=2} {{value}} <b>b</b>"


class StubRewriter:
    """Says the answer politely; a filter drops it."""

    def rewrite(self, *, question: str, answer: str, images: Any = (), task: str = "general") -> Any:
        return SimpleNamespace(text=f"Politely: {answer} ({len(images)}, {task})", kept_raw=False, attempts=0)

    def judge(self, *, question: str, answer: str, polite: Any, images: Any, task: str) -> RewriteJudgement:
        sample = Sample("s/one", "s", "val", "none", Task.VQA, (Turn("human", question), Turn("assistant", answer)))
        verdicts = {
            "length": FilterResult(3.0, [1, 256], True),
            "nli": FilterResult(0.0, ["contradiction"], False),
            "unfinished": FilterResult(None, None, True),
            "numbers": FilterResult(None, None, True),
        }
        rewrite = sample.to_rewrite(polite.text).with_scores(reward=0.7, reward_raw=-1.2)
        return RewriteJudgement(Decision(f"nli: {HOSTILE}", verdicts, rewrite, ()), rewrite, {"clip": "none <here>"})


class StubReward:
    """Finds all polite."""

    def rewards(self, pairs: list[tuple[str, str]]) -> list[float]:
        return [0.5 for _ in pairs]


class StubAssistant:
    """Tells what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stream(self, turns: list[dict[str, Any]]) -> Iterator[str]:
        yield f"{self.name} has {len(turns)} turns"
        yield f", photos {[len(turn.get('images', ())) for turn in turns]}: {turns[-1]['content']}"


class Served:
    """A page of its own on a free port."""

    def __init__(self, root: Path, uploads: Path) -> None:
        from polite_flamingo.demo import server
        from polite_flamingo.demo.examples import draw_examples
        from polite_flamingo.demo.page import DemoPage, DemoParts, OnFirstUse

        def missing() -> Any:
            raise ModelError("the profile has no model stage2 here", next_step="`make demo` trains <it>")

        self.uploads = uploads
        self.root = root
        drawn = draw_examples(root / "samples", root, uploads, number=6, seed=1)
        assistants = [OnFirstUse(name, lambda name=name: StubAssistant(name)) for name in ("stage 1", "stage 3", "raw")]
        assistants.insert(1, OnFirstUse("stage 2", missing))
        parts = DemoParts(
            "Profile <tiny>",
            OnFirstUse("rewriter", StubRewriter),
            assistants,
            OnFirstUse("reward", StubReward),
            drawn,
            drawn,
            1,
        )
        self.page = page = DemoPage(parts).blocks()
        self._listening = server.listen(0)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.url, verify=False, trust_env=False, timeout=20)
        self._server = server.PageServer(server.application(page, uploads), page)
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],))
        self._thread.start()

    def close(self) -> None:
        self.client.close()
        self._server.handle_exit(signal.SIGTERM, None)
        self._thread.join()
        self._listening.close()


def _samples(root: Path) -> None:
    (root / "images").mkdir()
    PILModule.new("RGB", (40, 30), "teal").save(root / "images" / "a.png")
    (root / "images" / "torn.png").write_bytes((root / "images" / "a.png").read_bytes()[:60])
    rows = [
        Sample(
            f"s/{name}", "s", "val", "none", Task.VQA, (Turn("human", question, (0,)), Turn("assistant", "teal")),
            (Image(f"images/{image}"),),
        ).to_row()
        for name, question, image in (("one", HOSTILE, "a.png"), ("torn", "Which colour?", "torn.png"))
    ]  # fmt: skip
    write_shards(root / "samples", rows)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from polite_flamingo.demo.server import uploads

    root = tmp_path_factory.mktemp("data")
    _samples(root)
    with pytest.MonkeyPatch.context() as patch, uploads() as folder:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        own = Served(root, folder)
        yield own
        own.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_both_tabs_at_the_width_of_a_desk_and_of_a_phone(browser: Any, served: Served, width: int) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)  # on a busy machine
    phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
    context = browser.new_context(viewport={"width": width, "height": 844}, **phone)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(served.url)

    def begin(button: str) -> None:
        page.locator(".pf-drawn:visible button.thumbnail-item").first.click()
        expect(page.get_by_label("Question").locator("visible=true")).to_have_value(HOSTILE)
        page.get_by_role("button", name=button, exact=True).click()

    begin("Rewrite")
    shown = page.locator("#rewrite-shown")
    expect(shown.locator("h3")).to_have_text(
        ["Raw annotation", "Rewritten", "The rewrite, distorted", "Rewritten again"]
    )
    expect(shown.locator(".pf-text").nth(1)).to_have_text("Politely: teal (1, vqa)")
    rows = [
        " | ".join(row.all_inner_texts()) for cells in shown.locator("tbody tr").all() if (row := cells.locator("td"))
    ]
    assert rows[:2] == ["Length | 3 | 1 to 256 | passes", "NLI | 0 | rejects contradiction | drops it"]
    expect(shown).to_contain_text(f"Dropped: nli: {HOSTILE}")
    expect(shown).to_contain_text("politeness: raw -1.20, rewritten +0.70")
    expect(shown).to_contain_text("not here: clip (none <here>)")
    assert shown.locator("b, img, a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("tab", name="Talk").click()
    begin("Ask all")
    said = page.locator("#talk-shown")
    expect(said.locator(".pf-text").nth(3)).to_have_text(f"raw has 1 turns, photos [1]: {HOSTILE}")
    expect(said.locator(".pf-card").nth(1)).to_contain_text("`make demo` trains <it>")
    page.get_by_label("Question").locator("visible=true").fill("And now?")
    page.get_by_role("button", name="Ask all").click()
    expect(said.locator(".pf-text").nth(3)).to_have_text("raw has 3 turns, photos [1, 0, 0]: And now?")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("window.hit") is None and said.locator("b, img, a").count() == 0
    assert [url for url in asked if not url.startswith((served.url, "data:", "blob:"))] == [] and wrong == []
    page.get_by_role("button", name="New conversation").click()
    expect(said.locator(".pf-card")).to_have_count(0)
    context.close()


def _event(uploads: str, **more: Any) -> dict[str, Any]:
    """A click on *Rewrite* with a photo."""
    photo = {"image": {"path": uploads, "meta": {"_type": "gradio.FileData"}, **more}, "caption": None}
    return {"data": [[photo], "What?", "teal", "an answer"], "fn_index": 1, "session_hash": "abc"}


def _upload(served: Served, data: bytes, name: str) -> str:
    return served.client.post("/gradio_api/upload", files={"files": (name, data)}).json()[0]


def _shown(served: Served, path: str) -> str:
    """What the page shows of a photo."""
    event = _event(path)
    assert served.client.post("/gradio_api/queue/join", json=event).status_code == 200
    with served.client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as stream:
        lines = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    return json.dumps([line["output"]["data"] for line in lines if line["msg"] == "process_completed"])


def _large_png(width: int, height: int) -> bytes:
    """The head of an image of that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


def test_uploads_are_checked_before_they_are_decoded_and_do_not_stay(served: Served) -> None:
    from gradio.route_utils import delete_files_created_by_app

    good = _upload(served, (served.root / "images" / "a.png").read_bytes(), "<b>.png")
    assert Path(good).is_relative_to(served.uploads)
    assert "Politely" in _shown(served, good)
    assert "too many pixels" in _shown(served, _upload(served, _large_png(9_000, 9_000), "large.png"))
    assert "is not an image" in _shown(served, _upload(served, b"<svg/>", "drawn.svg"))
    delete_files_created_by_app(served.page, age=None)  # as Gradio does to what is an hour old
    assert not Path(good).exists() and list(served.uploads.rglob("image.png"))


def test_no_other_file_address_or_route_is_answered(served: Served) -> None:
    own = next(served.uploads.rglob("image.png"))
    other = served.root / "images" / "a.png"
    paths = ("/etc/passwd", str(other), f"{served.uploads}/../x", str(served.uploads), "http://169.254.169.254/", "")
    before = sorted(served.uploads.rglob("*"))
    client = served.client
    assert client.get(f"/gradio_api/file={own}").status_code == 200
    for path in (*paths, f"{own.parent}/%2e%2e/%2e%2e/{other}", "file:///etc/passwd", "%2fetc%2fpasswd", "a%00b"):
        with case(path):
            assert client.get(f"/gradio_api/file={path}").status_code == 403
    for path in (
        "gradio_api/proxy=http://127.0.0.1/", "gradio_api/info", "gradio_api/runs", "monitoring", "docs", "login",
        "openapi.json", "gradio_api/deep_link?session_hash=abc", "gradio_api/file/etc/passwd", "manifest.json",
        "gradio_api/stream/a/1/2/playlist-file", "gradio_api/dev/reload", "gradio_api/custom_component/x/client/a",
    ):  # fmt: skip
        with case(path):
            assert client.get(f"/{path}").status_code == 404
            assert client.post(f"/{path}", json={}).status_code == 404
    for path in ("run/rewrite", "api/rewrite", "call/rewrite", "component_server", "process_recording", "vibe-edit"):
        with case(path):
            assert client.post(f"/gradio_api/{path}", json=_event(str(own))).status_code == 404
    for event in (*map(_event, paths), _event(7), _event(str(own), url={"path": "/etc/passwd"})):  # type: ignore[arg-type]
        with case(event):
            assert client.post("/gradio_api/queue/join", json=event).status_code == 403
    for body in (b"{", b"\xff\xfe", b"[" * 30_000):
        with case(body[:9]):
            assert client.post("/gradio_api/queue/join", content=body).status_code == 400
    assert sorted(served.uploads.rglob("*")) == before


def test_other_sites_names_and_endless_bodies_are_refused(served: Served) -> None:
    own = _event(str(next(served.uploads.rglob("image.png"))))
    client = served.client
    for name in ("evil.test", "127.0.0.1.evil.test", "169.254.169.254"):
        assert client.get("/", headers={"Host": name}).status_code == 403, name
    for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for path in ("queue/join", "cancel"):
            assert client.post(f"/gradio_api/{path}", json=own, headers=headers).status_code == 403, headers
        assert client.post("/gradio_api/upload", files={"files": b"x"}, headers=headers).status_code == 403, headers
    assert client.post("/gradio_api/queue/join", json=own | {"more": "x" * 70_000}).status_code == 413
    assert client.post("/gradio_api/upload", content=iter([b"x"])).status_code == 411
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert client.get("/", headers={"Origin": "http://evil.test"}).status_code == 403
    connection = HTTPConnection(served.url.removeprefix("http://"))
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_it_says_what_to_do_without_gradio_without_a_demo_and_when_the_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from polite_flamingo.demo import server

    for name in ("params.yaml", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for name in (server.UPLOADS, *server.PRIVATE):
        monkeypatch.setenv(name, "")  # and so given back

    def said(port: int) -> str:
        assert cli.main(["demo", "--port", str(port)]) == cli.USER_ERROR
        return capsys.readouterr().err

    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        assert str(port) in said(port)
    assert "make demo" in said(port)
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert "pip install 'polite-flamingo[demo]'" in said(port)
