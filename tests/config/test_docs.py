"""The pages are linked, their links lead somewhere, and the commands they show exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from polite_flamingo.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMAND = re.compile(r"^(?:    )?polite-flamingo (.+)$", re.MULTILINE)
BRACKETS = str.maketrans("", "", "[]")
TARGET = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")  # pictures are drawn by the commands on the page


def _commands(page: Path) -> list[str]:
    """Arguments of the commands in code blocks; brackets of optional ones and what a shell takes are left out."""
    joined = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [re.split(r" [|>;]| && ", line.translate(BRACKETS))[0] for line in COMMAND.findall(joined)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in TARGET.findall(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if target and not target.startswith(("http://", "https://"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"{page.name})" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for command in _commands(page):
        words = shlex.split(command, comments=True)
        try:
            build_parser().parse_args(words)
        except SystemExit as ended:
            pytest.fail(f"polite-flamingo {command}: status {ended.code}")


def test_the_pages_do_show_commands() -> None:
    assert sum(len(_commands(page)) for page in PAGES) > 20
