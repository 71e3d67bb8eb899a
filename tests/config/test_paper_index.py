"""docs/paper_index.md and docs/architecture.md name files and parameters that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("paper_index.md", "architecture.md"))
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


def _has(keys: list[str]) -> bool:
    values = PARAMS
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
