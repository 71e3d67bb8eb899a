"""Figures of the variants over seeds, and the page they stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.ablations.page import MARK, tables, update
from polite_flamingo.ablations.results import METRICS, summarise
from polite_flamingo.evaluate.variant_figures import u_by_seed, variant_panels
from polite_flamingo.io.text import read_json, write_json

SAMPLES = [f"s{i}" for i in range(40)]


def _report(folder: Path, variant: str, seed: int, level: float, stages: tuple[str, ...]) -> Path:
    """A report whose every score is `level`, a little more on every second sample and with every seed."""
    scores = {s: round(level + 0.1 * (i % 2) + 0.01 * seed, 4) for i, s in enumerate(SAMPLES)}
    path = folder / f"{variant}-{seed}.json"
    write_json(
        path,
        {
            "variant": variant,
            "label": variant,
            "seed": seed,
            "judges": {"nli": "small"},
            "changes": {
                "tune.common.seed": seed,
                "evaluate.models": [],
                **({} if variant == "base" else {"tune.common.data": "raw"}),
            },
            "scores": {stage: dict.fromkeys(METRICS, scores) for stage in stages},
        },
    )
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    all_stages = ("stage1", "stage2", "stage3")
    base = [_report(tmp_path, "base", seed, 0.5, all_stages) for seed in (1, 2, 3)]
    return base + [_report(tmp_path, "raw", seed, 0.3, all_stages[1:]) for seed in (1, 2, 3)]


def _summary(files: list[Path]) -> dict[str, Any]:
    return summarise(files, resamples=200, seed=1)


def test_a_figure_is_the_mean_over_seeds_with_each_seed_beside_it(files: list[Path]) -> None:
    found = _summary(files)["variants"]["base"]["stages"]["stage3"]["reward"]
    assert found["value"] == pytest.approx(0.57)
    assert found["by_seed"] == {"1": 0.56, "2": 0.57, "3": 0.58}
    assert found["sd"] == pytest.approx(0.01)
    assert found["low"] < found["value"] < found["high"]


def test_a_difference_is_paired_by_sample_and_seed(files: list[Path]) -> None:
    found = _summary(files)["variants"]["raw"]["stages"]["stage2"]["qa_in_domain"]["difference"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((-0.2, -0.2, -0.2))
    assert found["by_seed"] == pytest.approx({"1": -0.2, "2": -0.2, "3": -0.2})


def test_a_seed_the_recipe_lacks_has_no_difference(files: list[Path], tmp_path: Path) -> None:
    files.append(_report(tmp_path, "raw", 4, 0.3, ("stage2", "stage3")))
    variant = _summary(files)["variants"]["raw"]
    assert variant["seeds"] == [1, 2, 3, 4]
    assert set(variant["stages"]["stage2"]["reward"]["difference"]["by_seed"]) == {"1", "2", "3"}


def test_one_seed_has_no_deviation(files: list[Path]) -> None:
    assert _summary(files[:1])["variants"]["base"]["stages"]["stage1"]["reward"]["sd"] is None


def test_the_recipe_has_no_difference_from_itself(files: list[Path]) -> None:
    assert "difference" not in _summary(files)["variants"]["base"]["stages"]["stage3"]["reward"]


def test_the_tables_show_the_u_the_variants_and_clear_differences(files: list[Path]) -> None:
    text = tables(_summary(files))
    assert "| in domain | stage 1 | 56.0 | 57.0 | 58.0 | 57.0 | 1.0 |" in text
    assert "**\N{MINUS SIGN}20.0 (\N{MINUS SIGN}20.0 to \N{MINUS SIGN}20.0)**" in text
    assert "`tune.common.data: raw`" in text
    assert "tune.common.seed" not in text


def test_a_step_is_paired_and_asks_the_seeds_too(tmp_path: Path) -> None:
    files = [_report(tmp_path, "base", seed, 0.5, ("stage1", "stage2")) for seed in (1, 2, 3)]
    for file, change in zip(files, (-0.1, -0.2, 0.05), strict=True):
        report = read_json(file)
        last = {key: score + change for key, score in report["scores"]["stage1"]["reward"].items()}
        write_json(file, {**report, "scores": {**report["scores"], "stage2": dict.fromkeys(METRICS, last)}})
    step = _summary(files)["variants"]["base"]["steps"]["stage1 to stage2"]["reward"]
    assert step["low"] == step["high"] == step["value"] == pytest.approx(-0.25 / 3, abs=1e-5)  # the samples agree
    seeds = step["over_seeds"]
    assert (seeds["falls"], seeds["rises"]) == (2, 1)
    assert seeds["high"] - step["value"] == pytest.approx(4.303 * step["sd"] / 3**0.5, rel=1e-3)  # t of two degrees


def test_one_seed_has_no_interval_over_seeds_and_no_bold_difference(files: list[Path]) -> None:
    summary = _summary([files[0], files[3]])
    seeds = summary["variants"]["base"]["steps"]["stage1 to stage2"]["reward"]["over_seeds"]
    assert (seeds["low"], seeds["high"]) == (None, None)
    assert "**" not in tables(summary).replace("**bold**", "")


def test_a_difference_whose_seeds_disagree_is_not_bold(files: list[Path], tmp_path: Path) -> None:
    files[3] = _report(tmp_path, "raw", 1, 0.9, ("stage2", "stage3"))
    assert "**" not in tables(_summary(files)).replace("**bold**", "")


def test_the_page_gets_tables_and_figures_and_keeps_its_text(files: list[Path], tmp_path: Path) -> None:
    page, figure = tmp_path / "docs" / "page.md", tmp_path / "a.png"
    page.parent.mkdir()
    figure.write_bytes(b"png")
    page.write_text(f"# Title\n<!-- begin {MARK} -->\nold\n<!-- end {MARK} -->\nend\n")
    for _ in range(2):
        update(page, "new", [figure])
    assert page.read_text() == f"# Title\n<!-- begin {MARK} -->\n\nnew\n\n<!-- end {MARK} -->\nend\n"
    assert (page.parent / "figures" / "a.png").read_bytes() == b"png"


def test_the_figures_are_drawn_and_equal_numbers_give_equal_bytes(files: list[Path], tmp_path: Path) -> None:
    variants = _summary(files)["variants"]
    stages = ("stage1", "stage2", "stage3")
    for name in ("one", "two"):
        variant_panels(tmp_path / name / "a.png", variants, "base")
        u_by_seed(tmp_path / name / "b.png", variants["base"]["stages"], variants["raw"]["stages"], stages)
    for file in ("a.png", "b.png"):
        data = (tmp_path / "one" / file).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert data == (tmp_path / "two" / file).read_bytes()
