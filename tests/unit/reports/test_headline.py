"""The report merges what the stages wrote, under the names people ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import write_decided

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import Decision
from polite_flamingo.io.text import write_json
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.reports.headline import build_report, first_records, render_report
from polite_flamingo.reports.over_seeds import COLUMNS

PROJECT = Path(__file__).resolve().parents[3]


def _interval(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None}


STAGES: dict[str, Any] = {
    "download": {"read": 10, "rejected": 1, "kept": {"instruction": 4, "annotation": 5, "evaluation": 0}},
    "distort": {"pairs": 9, "strategies": {"llm_rewrite": {"made": 5}, "text_noise": {"made": 4}}},
    "train_rewriter": {"rouge_l_gain": 0.31},
    "rewrite": {"records": 5},
    "filter": {
        "records": 5,
        "kept": 4,
        "kept_share": 0.8,
        "answer_preserved_before": 0.95,
        "answer_preserved_after": 0.99,
        "recall_of_corrupted": 0.8,
        "clean_kept": 0.9,
        "probes": 2,
        "reward": {"raw": -1.0, "rewritten": 1.0, "pooled_sd": 0.5},
        "filters": [{"filter": "length", "dropped": 0}, {"filter": "sts", "dropped": 1}],
    },
    "evaluate": {
        "models": {
            "annotation": {"reward": _interval(-1.0)},
            "raw": {"qa_in_domain": _interval(0.7), "reward": _interval(-0.9)},
            "stage3": {
                "qa_in_domain": _interval(0.8),
                "qa_in_domain_without_image": _interval(0.3),
                "reward": _interval(0.9),
                "change_sts": _interval(None),
            },
        },
        "win_rate": None,
        "sets": {
            "nlvr2": {
                "kind": "pair",
                "in_domain": False,
                "n": 3000,
                "models": {
                    "lower_bound": {"sts": _interval(0.5)},
                    "stage3": {"sts": _interval(0.28), "rouge_l": _interval(0.155), "reward": _interval(0.4)},
                },
            }
        },
    },
}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(PROJECT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    return loaded


def _write(params: Params, *stages: str) -> None:
    for stage in stages:
        write_json(params.reports / f"{stage}.json", STAGES[stage])


def test_every_headline_figure_stands_where_it_is_looked_for(params: Params) -> None:
    _write(params, *STAGES)
    report: Any = json.loads(json.dumps(build_report(params)))
    for path, value in (
        ("rewriter.rouge_l_gain", 0.31),
        ("rewrite.answer_preserved", 0.95),
        ("pf1m.answer_preserved", 0.99),
        ("pf1m.records", 4),
        ("reward.rewritten", 1.0),
        ("reward.raw", -1.0),
        ("reward.pooled_sd", 0.5),
        ("filter.recall_of_corrupted", 0.8),
        ("filter.clean_kept", 0.9),
        ("filter.dropped.sts", 1),
        ("tune.stage3.qa_in_domain", 0.8),
        ("tune.stage3.qa_in_domain_without_image", 0.3),
        ("tune.stage3.reward", 0.9),
        ("tune.raw.reward", -0.9),
    ):
        figure = report
        for name in path.split("."):
            figure = figure[name]
        assert figure == value, path


def test_a_summary_alone_is_nothing_to_report(params: Params) -> None:
    write_json(params.reports / "summary.json", {"pf1m": {"kept": 4}})  # as in a fresh clone
    with pytest.raises(DataError, match="nothing to report"):
        build_report(params)


def test_stages_that_have_not_run_are_absent(params: Params) -> None:
    _write(params, "download", "distort")
    report = build_report(params)
    assert {"rewriter", "filter", "tune"} & set(report) == set()
    assert "9 (5 llm_rewrite, 4 text_noise)" in render_report(report)


def test_the_screen_holds_the_headlines_and_where_to_look(params: Params) -> None:
    _write(params, *STAGES)
    write_json(
        params.reports / "checks" / "check_raw.json", {"name": "raw", "passed": True, "records": 9, "findings": [{}]}
    )
    screen = render_report(build_report(params))
    for part in ("0.310", "4 of 5 rewrites kept; dropped: sts 1", "raw 1 checks", "data_docs/index.html", "explain ID"):
        assert part in screen
    (row,) = [line.split() for line in screen.splitlines() if line.startswith("  nlvr2")]
    assert row == ["nlvr2", "pair", "out", "3000", "STS", "0.500", "-", "-", "-", "0.280", "0.155", "0.400"]
    assert max(map(len, screen.splitlines())) <= 120
    assert len(screen.splitlines()) <= 30


def test_the_u_is_the_mean_over_seeds_unless_other_judges_measured_it(params: Params) -> None:
    judged = {**STAGES["evaluate"], "judges": {"reward": "a"}}
    write_json(params.reports / "evaluate.json", judged)
    assert "other seeds         not measured" in render_report(build_report(params))
    change = {"value": -0.05, "over_seeds": {"falls": 4, "rises": 1, "low": -0.1, "high": 0.02}}
    recipe = {
        "seeds": [1, 2, 3, 4, 5],
        "stages": {"stage2": {metric: _interval(0.7) for metric in COLUMNS}},
        "steps": {"stage1 to stage2": dict.fromkeys(COLUMNS, change)},
    }
    summary = {"judges": {"reward": "a"}, "variants": {"base": recipe}}
    write_json(Path("reports/ablations/tiny/summary.json"), summary)
    report = build_report(params)
    assert report["over_seeds"]["seeds"] == [1, 2, 3, 4, 5]
    screen = render_report(report)
    assert "mean of 5 seeds" in screen
    assert "-0.050 (-0.10 to +0.02), 4 fall" in screen
    assert max(map(len, screen.splitlines())) <= 120
    write_json(params.reports / "evaluate.json", {**judged, "judges": {"reward": "b"}})
    assert "other judges" in render_report(build_report(params))


def test_a_figure_nobody_could_measure_is_a_dash(params: Params) -> None:
    _write(params, *STAGES)
    (stage3,) = [line for line in render_report(build_report(params)).splitlines() if line.startswith("  stage3")]
    assert stage3.split() == ["stage3", "0.800", "0.300", "-", "-", "-", "-", "0.900"]


def test_without_any_stage_the_error_says_what_to_run(params: Params) -> None:
    with pytest.raises(DataError, match="polite-flamingo run"):
        build_report(params)


def test_the_first_records_are_the_first_by_id_kept_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(PROJECT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    text = "It is red.\n\nReally."
    record = Rewrite("b", "vqa", "train", "-", Task.VQA, "What?", (), "red", text, "stop")
    records = [record, replace(record, id="d"), replace(record, id="a")]
    reasons = [None, None, "nli: contradiction"]
    decided = [(r, Decision(reason, {}, r, ())) for r, reason in zip(records, reasons, strict=True)]
    write_decided(params.data / "pf1m", decided)
    shown = first_records(params, 2)
    assert shown.index("**a** (dropped: nli: contradiction)") < shown.index("**b** (kept)")
    assert "It is red. / Really." in shown
    assert "**d**" not in shown
