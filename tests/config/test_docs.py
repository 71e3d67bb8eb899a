"""The pages are linked, their links lead somewhere, and the commands they show exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from polite_flamingo import cli
from polite_flamingo.cli.command import Verb

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:    )?polite-flamingo (.+)$", re.MULTILINE)
BRACKETS = str.maketrans("", "", "[]")
TARGET = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")  # pictures are drawn by the commands on the page


def _commands(page: Path) -> list[str]:
    """Arguments of the commands in code blocks; brackets of optional ones and what a shell takes are left out."""
    joined = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [re.split(r" [|>;]| && ", line.translate(BRACKETS))[0] for line in COMMAND.findall(joined)]


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        targets = [target.partition("#")[0] for target in TARGET.findall(page.read_text(encoding="utf-8"))]
        local = [target for target in targets if target and not target.startswith(("http://", "https://"))]
        assert [target for target in local if not (page.parent / target).exists()] == [], page.name


def test_the_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"{page.name})" not in readme] == []


def test_the_commands_of_the_pages_exist_with_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verb, "invoke", lambda *_: 0)
    for page in PAGES:
        for command in _commands(page):
            assert cli.main(shlex.split(command, comments=True)) == 0, f"{page.name}: polite-flamingo {command}"


def test_the_pages_do_show_commands() -> None:
    assert sum(len(_commands(page)) for page in PAGES) > 20


def test_the_walks_of_the_architecture_name_functions_that_exist_in_at_most_six_files() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Two walks")[2].partition("\n## ")[0]
    for walk in section.strip().split("\n\n")[1::2]:
        steps = re.findall(r"^\d\. `([\w/]+\.py)`: (.+(?:\n   .+)*)", walk, flags=re.MULTILINE)
        assert 3 < len(steps) <= 6
        for file, text in steps:
            source = (ROOT / "src" / "polite_flamingo" / file).read_text(encoding="utf-8")
            for name in re.findall(r"`([\w.]+)`", text):
                assert re.search(rf"\b(def|class) {name.split('.')[-1]}\b", source), (file, name)
