"""The profile in docs/how_to_bring_your_own_data.md is one that loads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from polite_flamingo.params.reading import load_params
from polite_flamingo.sources import catalogue

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how_to_bring_your_own_data.md").read_text(encoding="utf-8")


def test_the_documented_profile_loads_and_names_readers_that_exist(tmp_path: Path) -> None:
    profiles = tmp_path / "configs" / "profiles"
    profiles.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 1
    (profiles / "mine.yaml").write_text(blocks[0], encoding="utf-8")
    params = load_params(tmp_path / "params.yaml", profile="mine")
    assert {source.name for source in params.sources} <= set(catalogue())
    assert params.contradictions() == []
    assert set(params.overridden) == {"generation.max_new_tokens", "rewriter.global_batch_size"}


def test_every_reader_the_page_lists_exists() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert len(listed) >= 7
    assert set(listed) <= set(catalogue())
