"""The section "Add a filter" of docs/filters.md, followed to the letter in a copy of the project, adds a filter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.unit.filter.scoring import with_columns

from polite_flamingo.filter.table import write_table
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Rewrite, Task

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "filters.md").read_text(encoding="utf-8").partition("## Add a filter")[2]
((NEW, CODE),) = re.findall(r"Save this as `([^`]+)`:\n\n   ```python\n(.*?)   ```", PAGE, flags=re.DOTALL)
(EDITED,) = re.findall(r"In `([^`]+)`, add it", PAGE)
EDITS = re.findall(r"   ```diff\n(.*?)   ```", PAGE, flags=re.DOTALL)
(COMMANDS,) = re.findall(r"   ```bash\n(.*?)   ```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the section touches, with its code written where it says, and a few scored records."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(
        PROJECT / "src", folder / "src", symlinks=True, ignore=shutil.ignore_patterns("assets", "__pycache__")
    )
    shutil.copytree(PROJECT / "configs", folder / "configs")
    shutil.copy(PROJECT / "params.yaml", folder)
    shutil.copy(PROJECT / "pyproject.toml", folder)
    assert not (folder / NEW).exists()
    (folder / NEW).write_text(textwrap.dedent(CODE), encoding="utf-8")
    text = (folder / EDITED).read_text(encoding="utf-8")
    for edit in EDITS:
        lines = [line[3:] for line in edit.splitlines()]
        before, after = ("\n".join(line[1:] for line in lines if line[0] in marks) for marks in (" ", " +"))
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / EDITED).write_text(text, encoding="utf-8")
    answers = ["It is red.", "It is red, as far as can be told from the picture that was given to me."]
    rewrites = [
        with_columns(
            Rewrite(f"vqa/train/{i}", "vqa", "train", "-", Task.VQA, "What?", (), "red", answer, "stop"), rouge_l=0.3
        )
        for i, answer in enumerate(answers)
    ]
    write_shards(folder / "data" / "tiny" / "scored", (rewrite.to_row() for rewrite in rewrites))
    write_table(rewrites, folder / "data" / "tiny" / "scored" / "table")
    return folder


def test_the_section_adds_a_filter_that_rejects(project: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project / "src")}
    for command in textwrap.dedent(COMMANDS).splitlines():
        done = subprocess.run(
            command, shell=True, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "LOST  vqa/train/1  (wordy: 17.0)" in done.stdout
    assert "  wordy: {max_words: null}" in (project / "params.yaml").read_text(encoding="utf-8")


def test_at_most_four_source_files_change(project: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        paths = [folder / "params.yaml", *(folder / "src").rglob("*.py")]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    before, after = files(PROJECT), files(project)
    assert {name for name in after if after[name] != before.get(name)} - {"params.yaml"} == {NEW, EDITED}


def test_the_code_of_the_section_is_in_the_projects_style(project: Path) -> None:
    for arguments in (["check"], ["format", "--check"]):
        command = [str(Path(sys.executable).with_name("ruff")), *arguments, NEW, EDITED]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
