"""docs/paper_index.md and docs/architecture.md name files and parameters that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("paper_index.md", "architecture.md"))
INDEX = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
NAMED_FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", PAGES)))
DOTTED = set(re.findall(r"`((?:\w+\.)+\w+)`", PAGES))
NAMED_PARAMETERS = sorted(
    name for name in DOTTED if name.split(".")[0] in PARAMS and not name.endswith((".py", ".json", ".yaml", ".png"))
)


def test_the_modules_the_docs_name_exist() -> None:
    assert len(NAMED_FILES) > 20
    folders = {path: ROOT if path.startswith("tests/") else ROOT / "src" / "polite_flamingo" for path in NAMED_FILES}
    assert [path for path, folder in folders.items() if not (folder / path).is_file()] == []


def test_the_parameters_the_docs_name_exist() -> None:
    assert len(NAMED_PARAMETERS) > 8
    assert [name for name in NAMED_PARAMETERS if not _has(name.split("."))] == []


def test_every_section_table_and_figure_of_the_paper_has_a_row() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", INDEX.partition("## Sections")[2], flags=re.MULTILINE)
    named = {part.strip(" †") for row in rows for part in row.split(",")}
    sections = {"1", "2", "3.1", "3.2", "3.3", "4.1", "4.2", "4.3", "4.4", "5.1", "5.2", "5.3", "5.4", "6"}
    numbered = {f"Table {i}" for i in range(1, 7)} | {f"Figure {i}" for i in range(1, 12)}
    assert (sections | numbered | {f"App. {letter}" for letter in "ABCDEF"}) - named == set()


def test_the_values_it_states_are_those_of_params_yaml() -> None:
    stated = re.findall(
        r"`((?:\w+\.)+\w+): ([^`]+)`", INDEX.partition("## The paper's values")[2].partition("\n## ")[0]
    )
    assert len(stated) > 20
    assert [name for name, value in stated if yaml.safe_load(value) != _value(name.split("."))] == []


def _value(keys: list[str]) -> object:
    values = PARAMS
    for key in keys:
        values = values[key]
    return values


def _has(keys: list[str]) -> bool:
    values = PARAMS
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
