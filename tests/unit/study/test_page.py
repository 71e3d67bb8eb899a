"""The page of a study in a real browser: labels, places, undo, a killed server, two annotators, a phone.

Skipped where there is no browser: `playwright install chromium`, or a chromium of the system, provides one.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.study.studies import study

from polite_flamingo.study.report import standing_of
from polite_flamingo.study.server import links
from polite_flamingo.study.store import StudyFile

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
SERVER = (
    "import sys; from pathlib import Path; from polite_flamingo.study import server, store; "
    "server.serve(store.StudyFile(Path(sys.argv[1])), '127.0.0.1', int(sys.argv[2]), server.LOCAL)"
)


class Served:
    """A study's server as a process of its own, which can be killed and started again."""

    def __init__(self, own: StudyFile) -> None:
        self.study = own
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.links = links(own, "127.0.0.1", self.port)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.study.path), str(self.port)])
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("the server did not start")

    def kill(self) -> None:
        self._process.kill()  # SIGKILL
        self._process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    own = Served(study(tmp_path_factory.mktemp("study"), 12))
    yield own
    own.kill()


@pytest.fixture
def visit(browser, served: Served) -> Iterator[Callable]:
    contexts = []

    def open_page(annotator: str, **options: object):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.goto(served.links[annotator])
        page.click("#guide-close")
        page.wait_for_selector(".answer")
        return page

    yield open_page
    for context in contexts:
        assert not [one.text for page in context.pages for one in page.console_messages() if one.type == "error"
                    and "ERR_CONNECTION" not in one.text]  # fmt: skip
        context.close()


def _saved(page) -> None:
    api.expect(page.locator("#saved")).to_have_text("all saved", timeout=15_000)


def _events(served: Served, annotator: str, kinds: tuple[str, ...] = ("label", "rank", "comment", "undo")) -> list:
    return [one for one in served.study.events() if one.annotator == annotator and one.kind in kinds]


def test_a_sample_is_judged_by_keys_alone_and_every_click_is_a_row(visit, served: Served) -> None:
    page = visit("Anna")
    assert page.locator(".answer b").count() == 0  # what a model says is text, whatever it says
    assert page.get_by_role("group", name="How does the answer relate to the truth?").count() == 3
    before = len(_events(served, "Anna"))
    for key in ("1", "3", "2", "c", "a", "Shift+B", "m"):
        page.keyboard.press(key)
    page.keyboard.type("not sure about C")
    page.keyboard.press("Escape")
    _saved(page)
    labels = _events(served, "Anna", ("label",))
    assert [(one.slot, one.value) for one in labels] == [(0, "matched"), (1, "failed"), (2, "correct")]
    assert [one.value for one in _events(served, "Anna", ("rank",))] == ["[[2]]", "[[2],[0]]", "[[2],[0,1]]"]
    assert [one.value for one in _events(served, "Anna", ("comment",))] == ["not sure about C"]
    assert len(_events(served, "Anna")) == before + 7 and all(one.at and one.clicked for one in labels)
    assert "1 done" in page.inner_text("#count")
    page.keyboard.press("u")
    page.keyboard.press("u")
    api.expect(page.locator("#pool .handle")).to_have_count(1)  # comment and last place are undone
    assert page.input_value("#comment") == "" and "0 done" in page.inner_text("#count")
    page.keyboard.press("b")
    page.keyboard.press("n")
    api.expect(page.locator("#count")).to_contain_text("Sample 2")
    page.reload()  # and it goes on at the first open one
    api.expect(page.locator("#count")).to_contain_text("Sample 2 of 12 · 1 done")


def test_places_are_given_by_drag_and_a_place_is_shared_by_dropping_onto_it(visit, served: Served) -> None:
    page = visit("Anna")
    for _ in range(3):
        page.locator("#pool .handle").first.click()
    page.locator("#ranking").scroll_into_view_if_needed()

    def drag(slot: int, onto: int, share: float) -> None:
        start = page.locator(f"#places .handle[data-slot='{slot}']").bounding_box()
        end = page.locator("#places .place").nth(onto).bounding_box()
        page.mouse.move(start["x"] + 30, start["y"] + 15)
        page.mouse.down()
        page.mouse.move(end["x"] + 60, end["y"] + end["height"] * share, steps=4)
        page.mouse.up()

    drag(2, 0, 0.1)
    _saved(page)
    assert _events(served, "Anna", ("rank",))[-1].value == "[[2],[0],[1]]"
    drag(1, 0, 0.5)
    _saved(page)
    assert _events(served, "Anna", ("rank",))[-1].value == "[[2,1],[0]]"
    page.get_by_role("button", name="Answer B: one place down").click()
    _saved(page)
    assert _events(served, "Anna", ("rank",))[-1].value == "[[2],[1],[0]]"
    assert page.evaluate("document.activeElement.dataset.act") == "down"  # the focus stays with the answer


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(visit, served: Served) -> None:
    page = visit("Anna")
    item = page.inner_text("#question")
    page.keyboard.press("1")
    _saved(page)
    before = len(_events(served, "Anna"))
    served.kill()
    page.keyboard.press("3")
    page.keyboard.press("4")
    api.expect(page.locator("#saved")).to_contain_text("2 kept in this browser")
    served.start()
    _saved(page)
    assert [one.value for one in _events(served, "Anna")[before:]] == ["failed", "uncertain"]
    page.reload()  # and it goes on with the next
    page.wait_for_selector(".answer")
    page.keyboard.press("p")
    api.expect(page.locator("#question")).to_have_text(item)
    assert [page.locator(f".answer >> nth={n} >> input:checked").get_attribute("value") for n in range(3)] == [
        "matched", "failed", "uncertain",
    ]  # fmt: skip


def test_a_phone_of_390_pixels_shows_everything_and_is_judged_by_taps(visit, served: Served) -> None:
    page = visit("Ben", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.evaluate(
        "[...document.querySelectorAll('button, .options label')].filter((one) => one.offsetParent !== null)"
        ".filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.textContent)"
    )
    assert small == []
    for number in range(3):
        page.locator(".answer").nth(number).get_by_role("radio", name="Matched").tap()
    for _ in range(3):
        page.locator("#pool .handle").first.tap()
    _saved(page)
    assert "1 done" in page.inner_text("#count")


def test_two_save_at_once_and_agree_in_the_second_round(browser, tmp_path: Path) -> None:
    served = Served(study(tmp_path, 2))
    try:
        pages = [browser.new_page() for _ in range(2)]
        for page, name in zip(pages, ("Anna", "Ben"), strict=True):
            page.goto(served.links[name])
            page.click("#guide-close")
            page.wait_for_selector(".answer")
        for key in "111abcn331abc":
            for page, own in zip(pages, (key, {"1": "2"}.get(key, key)), strict=True):
                page.keyboard.press(own)  # without waiting for the other
        for page in pages:
            _saved(page)
            page.click("#round2")
            api.expect(page.locator("#count")).to_contain_text("of 2")
        assert all(len(_events(served, name)) == 12 for name in ("Anna", "Ben"))
        assert standing_of(served.study).progress()["settled"] == 0
        api.expect(pages[0].locator(".answer").first).to_contain_text("Ben says: ")
        for page in pages:
            for key in "444n444n":
                page.keyboard.press(key)  # as fast as may be: keys of the next sample wait for it
        api.expect(pages[1].locator("#message-text")).to_contain_text("agreed on")
        assert standing_of(served.study).progress()["settled"] == 2
    finally:
        served.kill()
