"""docs/paper_index.md and docs/architecture.md name files and parameters that exist."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("paper_index.md", "architecture.md"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
NAMED_FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", PAGES)))
DOTTED = set(re.findall(r"`((?:\w+\.)+\w+)`", PAGES))
NAMED_PARAMETERS = sorted(
    name for name in DOTTED if name.split(".")[0] in PARAMS and not name.endswith((".py", ".json", ".yaml", ".png"))
)


@pytest.mark.parametrize("path", NAMED_FILES)
def test_a_module_the_docs_name_exists(path: str) -> None:
    assert ((ROOT if path.startswith("tests/") else ROOT / "src" / "polite_flamingo") / path).is_file()


@pytest.mark.parametrize("name", NAMED_PARAMETERS)
def test_a_parameter_the_docs_name_exists(name: str) -> None:
    reduce(lambda values, key: values[key], name.split("."), PARAMS)


def test_the_docs_do_name_files_and_parameters() -> None:
    assert len(NAMED_FILES) > 20
    assert len(NAMED_PARAMETERS) > 8
