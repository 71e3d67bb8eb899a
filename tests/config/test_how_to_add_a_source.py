"""docs/how_to_add_a_source.md, followed to the letter in a copy of the project, adds a dataset."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "how_to_add_a_source.md").read_text(encoding="utf-8")
FILES = re.findall(r"(Save|Append) this (?:as|to) `([^`]+)`:\n\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
(COMMANDS,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
(SHOWN,) = re.findall(r"```\n(\{.*?\})\n```", PAGE)
MOST_LINES = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the page touches, with its files written where it says."""
    ignored = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=ignored)
    for name in ("pyproject.toml", "docs/sources.md", "tests/unit/sources/conftest.py", "tests/unit/cases.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    for verb, name, text in FILES:
        file = tmp_path / name
        assert file.exists() == (verb == "Append"), f"{name}: the page says {verb}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as opened:
            opened.write(text)
    return tmp_path


def follow(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project / "src")}
    return subprocess.run(
        command, shell=True, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_page_adds_a_dataset(project: Path) -> None:
    done = {command: follow(project, command) for command in COMMANDS.splitlines()}
    assert {command: (d.returncode, d.stdout + d.stderr) for command, d in done.items() if d.returncode} == {}
    tested, read, _ = done.values()
    assert "1 passed" in tested.stdout
    assert {**json.loads(read.stdout), "seconds": 0} == {**json.loads(SHOWN), "seconds": 0}
    (reject,) = (project / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(reject)["reason"] == "row lacks 'notes'"
    assert list((project / "out" / "samples").glob("part-*.parquet"))
    assert "| `birds` | [Birds](https://example.org/birds) |" in (project / "docs" / "sources.md").read_text()


def test_it_takes_less_than_sixty_lines() -> None:
    written = {name: text for _, name, text in FILES if not name.startswith("data/")}
    assert len(written) == 3
    assert sum(len(text.splitlines()) for text in written.values()) < MOST_LINES


def test_the_code_of_the_page_is_in_the_projects_style(project: Path) -> None:
    python = [name for _, name, _ in FILES if name.endswith(".py")]
    for arguments in (["check"], ["format", "--check"]):
        command = [str(Path(sys.executable).with_name("ruff")), *arguments, *python]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_helpers_of_the_page_exist() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([\w.]+)` \|", PAGE, flags=re.MULTILINE)
    assert len(rows) == 9
    for names, module in rows:
        for name in re.findall(r"\w+", names):
            assert hasattr(importlib.import_module(f"polite_flamingo.sources.{module}"), name), name


def test_the_pages_it_links_to_exist() -> None:
    assert all((PROJECT / "docs" / name).is_file() for name in re.findall(r"\]\(([\w.]+)\)", PAGE))
