"""Table 4 value by value: what `paper_8xa100` trains with, and where each value comes from.

The table's own text was not available to us (docs/paper_index.md). Whoever has it can compare the two at a glance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.params import load_params

PROJECT = Path(__file__).resolve().parents[2]
RUNS = "name of the authors' run"
SCRIPTS = "authors' scripts of the second model"

TABLE: list[tuple[str, Any, str]] = [
    ("rewriter.lora.r", 64, "appendix A"),
    ("rewriter.global_batch_size", 256, "Table 4, as cited in the text"),
    ("rewriter.learning_rate", 1e-4, SCRIPTS),
    ("rewriter.context_length", 1024, SCRIPTS),
    ("rewriter.scheduler", "constant", SCRIPTS),
    ("rewriter.warmup_steps", 100, SCRIPTS),
    ("tune.lora.r", 64, "appendix A"),
    ("tune.stage1.trainable", ["lora"], "section 4.3"),
    ("tune.stage1.global_batch_size", 256, RUNS),
    ("tune.stage1.learning_rate", 1e-4, RUNS),
    ("tune.stage1.context_length", 1024, RUNS),
    ("tune.stage1.epochs", 1, RUNS),
    ("tune.stage1.mixture", {"instruction": 1.0, "pf1m": 1.0}, "section 4.3"),
    ("tune.stage2.trainable", ["perceiver", "xattn"], "section 4.3, appendix A"),
    ("tune.stage2.global_batch_size", 1024, RUNS),
    ("tune.stage2.learning_rate", 1e-4, RUNS),
    ("tune.stage2.context_length", 196, RUNS),
    ("tune.stage2.epochs", 3, RUNS),
    ("tune.stage2.mixture", {"pf1m": 1.0}, "section 4.3"),
    ("tune.stage3.trainable", ["lora"], "section 4.3"),
    ("tune.stage3.global_batch_size", 256, RUNS),
    ("tune.stage3.learning_rate", 1e-5, RUNS),
    ("tune.stage3.context_length", 1024, RUNS),
    ("tune.stage3.epochs", 1, RUNS),
    ("tune.stage3.mixture", {"instruction": 1.0, "pf1m": 1.0}, "section 4.3"),
    ("tune.scheduler", "constant", SCRIPTS),
    ("tune.warmup_steps", 100, SCRIPTS),
    ("tune.multiturn.mode", "paper", "section 4.4"),
    ("tune.multiturn.max_turns", 32, SCRIPTS),
    ("tune.multiturn.max_images", 16, SCRIPTS),
    ("tune.resolution", None, "the tower's own: CLIP ViT-L/14 at 336 pixels"),
]


@pytest.mark.parametrize(("key", "value", "origin"), TABLE)
def test_the_papers_profile_trains_with_the_value(key: str, value: Any, origin: str) -> None:
    found = load_params(PROJECT / "params.yaml", "paper_8xa100").model_dump()
    for part in key.split("."):
        found = found[part]
    assert found == value, f"{key}: {origin}"


def test_the_papers_profile_overrides_no_value_of_the_paper() -> None:
    assert load_params(PROJECT / "params.yaml", "paper_8xa100").overridden == {}


def test_the_tower_sees_336_pixels() -> None:
    base = load_params(PROJECT / "params.yaml", "paper_8xa100").backbones.flamingo
    assert "clip-vit-large-patch14-336" in base
    assert "llama-7b" in base
