"""The paper's figures with ours beside them: every cell says something, and the page is filled by one command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.cli import main
from polite_flamingo.io.text import write_json
from polite_flamingo.reports.results.page import render
from polite_flamingo.reports.results.runs import ProfileRun

ROOT = Path(__file__).resolve().parents[4]
FIGURE = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9}
NOT_RUN = ProfileRun("tiny", {}, None, "not measured: `polite-flamingo ablations`")


def _reports() -> dict[str, Any]:
    coco = {"kind": "caption", "in_domain": True, "n": 9, "models": {"stage3": {"rouge_l": FIGURE, "sts": FIGURE}}}
    grids = {grid: [[0.5, 0.3], [0.7, 0.5]] for grid in ("matrix", "low", "high")}
    return {
        "evaluate": {
            "models": {"raw": {}, "stage3": {"qa_in_domain": FIGURE, "qa_out_of_domain": FIGURE, "reward": FIGURE}},
            "sets": {"coco": coco},
            "responses": {"PF-1M": {**FIGURE, "median": -0.125}, "own": {**FIGURE, "median": 0.0}},
            "win_rate": {"order": ["raw", "stage3"], **grids},
            "judges": {"nli": {}, "exact": "truth"},
            "samples": {"all": 9},
        },
        "score": {"sources": {"aokvqa": {"unchanged": 0.1, "reward": -1.5}, "coco": {"clip_logit": 20.0}}},
    }


def _ablations() -> dict[str, Any]:
    of = {"qa_in_domain": FIGURE, "qa_out_of_domain": FIGURE, "reward": FIGURE}
    stages = {"stage1": of, "stage2": of, "stage3": of}
    return {"variants": {"base": {"label": "recipe", "seeds": [1, 2, 3, 4, 5], "stages": stages, "steps": {}}}}


@pytest.mark.parametrize(
    "run", [NOT_RUN, ProfileRun("tiny", _reports(), None, "why"), ProfileRun("tiny", _reports(), _ablations(), "")]
)
def test_no_cell_is_empty_whatever_was_run(run: ProfileRun) -> None:
    for name, part in render([run, NOT_RUN]).items():
        rows = [line for line in part.splitlines() if line.startswith("|")]
        for row in rows:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert all(cells[1:]) or row in rows[:1] or rows[rows.index(row) + 1].startswith("| ---"), (name, row)


def test_ours_stands_on_the_papers_sets_with_its_interval_and_its_seeds() -> None:
    parts = render([ProfileRun("tiny", _reports(), _ablations(), "")])
    (row,) = [line for line in parts["table 1"].splitlines() if "stage 3" in line]
    assert row.startswith("| **ours** (`tiny`), stage 3 | 50.0 (25.0 to 75.0) | no such set |")
    assert "first generation | −1.50 | 10.00 | 20.00 (coco) |" in parts["table 3"]
    assert "| PF-1M | −0.5 | −0.12 |" in parts["figure 6"]
    assert "| stage 1 | 25.54 | 50.0 (25.0 to 75.0) |" in parts["figure 9"]
    assert parts["figure 9"].splitlines()[2].endswith("| 5 |")


def test_the_docs_page_is_filled_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "configs/profiles/tiny.yaml", "docs/results.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for name, report in _reports().items():
        write_json(Path("reports/tiny") / f"{name}.json", report)
    assert main(["results", "--beside", "laptop", "--page", "docs/results.md"]) == 0
    filled = Path("docs/results.md").read_text()
    assert "**ours** (`tiny`), stage 3" in filled
    assert "`laptop` | none: its models were not evaluated" in filled
