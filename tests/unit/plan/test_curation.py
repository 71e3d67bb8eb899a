"""What curation takes is arithmetic over what a record costs, and every figure says where it is from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polite_flamingo.cli import main
from polite_flamingo.cli.plan import count
from polite_flamingo.errors import ConfigError
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.costs import Costs, CurationCosts, costs_of
from polite_flamingo.plan.curation import curation, render
from polite_flamingo.plan.paper import ADOPTED, REWRITTEN

ROOT = Path(__file__).parents[3]


def params() -> Params:
    return load_params(ROOT / "params.yaml", "paper_8xa100")


def costs(**values: float) -> Costs:
    made = CurationCosts(**values)
    return Costs(made, dict.fromkeys(CurationCosts.model_fields, "a test"))


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers(inner)]
    return [float(value)] if isinstance(value, int | float) else []


def test_a_small_case_by_hand() -> None:
    made = costs(
        rewrite=10, clip=100, nli=100, reward=50, sts=100, captions=0.5, questions=0.25, tries=1, gpu_hour=2, kept=0.5,
        tokens_in=100, tokens_image=0, tokens_out=50, price_in=1, price_out=4, rewrite_ms=1, score_ms=3.6, filter_ms=1,
        gates_ms=0, images=1, image_bytes=1000, samples_bytes=100, rewrites_bytes=200, scored_bytes=300, pf1m_bytes=400,
        journal_bytes=0, disk_mb=1,
    )  # fmt: skip
    (size,) = curation([3_600_000], made, nodes=2, gpus_per_node=5)["sizes"]
    assert size["gpu_hours"] == {"rewrite": 100, "clip": 5, "nli": 2.5, "reward": 20, "sts": 10}
    assert size["gpu_money"] == 275
    assert size["endpoint_money"] == pytest.approx(3.6 * (100 + 50 * 4))
    assert size["driver_hours"] == {"rewrite": 1, "score": 3.6, "filter": 1, "gates": 0}
    assert size["slices"] == 1
    assert size["wall_hours"] == {"rewrite": 10, "score": 3.75, "filter": 1, "gates": 0}
    assert size["storage_bytes"]["images"] == 3.6e9
    assert (size["kept"], size["shards"]) == (1_800_000, 360)
    assert size["regrouped_bytes"] == 1_800_000 * 152 * 16 * 3


def test_where_the_driver_is_slower_than_the_gpus_slices_keep_them_busy() -> None:
    made = costs(rewrite=1000, rewrite_ms=1)
    (few,) = curation([10**6], made, nodes=1, gpus_per_node=1)["sizes"]
    (many,) = curation([10**6], made, nodes=4, gpus_per_node=8)["sizes"]
    assert few["slices"] < many["slices"]
    assert many["wall_hours"]["rewrite"] == pytest.approx(many["gpu_hours"]["rewrite"] / 32)


@given(records=st.integers(1000, 10**7), times=st.integers(2, 1000), nodes=st.integers(1, 64))
def test_everything_grows_with_the_records_and_nothing_faster(records: int, times: int, nodes: int) -> None:
    small, large = curation([records, records * times], costs(), nodes=nodes)["sizes"]
    assert large["slices"] <= small["slices"] * times
    for one, other in zip(numbers(small), numbers(large), strict=True):
        assert other <= one * times * 1.001 + times


def test_records_beyond_the_memory_of_a_stage_go_in_slices() -> None:
    small, large = (curation([10**9], costs(memory_gb=gb, score_ms=0), gpus_per_node=1)["sizes"][0] for gb in (16, 64))
    assert small["slices"] > large["slices"] > 1
    assert max(large["memory_bytes"].values()) <= 64e9


def test_the_papers_records_give_the_papers_pf1m() -> None:
    assert curation([REWRITTEN], costs())["sizes"][0]["kept"] == ADOPTED


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"gpus_per_node": 0}])
def test_a_cluster_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        curation([1000], costs(), **wrong)


def test_what_is_stated_counts_and_what_is_not_a_figure_is_named() -> None:
    made = costs_of(params(), {"rewrite": 12.5})
    assert (made.values.rewrite, made.origins["rewrite"], made.origins["clip"]) == (12.5, "stated", "assumed")
    with pytest.raises(ConfigError, match=r"(?s)2 problem.*rewriter: no such figure.*kept"):
        costs_of(params(), {"rewriter": 1, "kept": 3})


def test_a_profiles_own_outputs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = params()
    monkeypatch.chdir(tmp_path)
    write_shards(loaded.data / "samples" / "annotation", ({"id": str(i)} for i in range(2000)))
    write_json(loaded.reports / "rewrite.json", {"generated_tokens": 90_000, "rewritten": 2000})
    tasks = {"caption": {"records": 500}, "vqa": {"records": 1500}}
    write_json(loaded.reports / "filter.json", {"records": 2000, "kept": 1500, "tasks": tasks})
    made = costs_of(loaded, {})
    assert made.origins["samples_bytes"] == "measured: 2,000 records of profile paper_8xa100"
    assert made.values.samples_bytes < 30
    assert (made.values.tokens_out, made.values.kept, made.values.captions) == (45, 0.75, 0.25)


def test_the_verb_prints_a_column_for_each_number_of_records(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--profile", "paper_8xa100", "--records", "1.17M", "--records", "1B", "--nodes", "16"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "975.8k" in printed and "1B" in printed
    assert main([*words, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [size["records"] for size in read["sizes"]] == [1_170_000, 10**9]
    assert render(read) + "\n" == printed


@pytest.mark.parametrize(("text", "number"), [("5", 5), ("50k", 50_000), ("1.17M", 1_170_000), ("1B", 10**9)])
def test_a_number_of_records_may_be_short(text: str, number: int) -> None:
    assert count(text) == number
