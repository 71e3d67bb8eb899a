"""The evaluation sets of the profile `paper_8xa100` (appendix E): sizes, domains, and what each of them asks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.unit.sources.file_sets.cases import CASES
from tests.unit.sources.file_sets.pieces import Files, Record

from polite_flamingo.evaluate.answers import as_answer, measurable
from polite_flamingo.evaluate.sets import Kind, is_in_domain, kind_of, set_of
from polite_flamingo.evaluate.vqa import annotated
from polite_flamingo.params.reading import load_params
from polite_flamingo.records import Sample
from polite_flamingo.sources import catalogue, load_source
from polite_flamingo.sources.selection import SourceSpec

PARAMS = load_params(Path(__file__).resolve().parents[3] / "params.yaml", "paper_8xa100")
ASKED = [spec for spec in PARAMS.sources if spec.role == "evaluation" and not spec.reward_only]
PICTURED = {"scienceqa": 2017}  # of the 4,241 questions of the split
TABLES = {"coco": 5000, "textcaps": 3000, "image2paragraph": 3000, "okvqa": 3000, "vsr": 2195, "grid3d": 3000}
FIGURES = {
    *("iconqa", "vqav2", "okvqa", "textvqa", "scienceqa", "vqa_e", "chartqa", "gqa", "ocrvqa", "aokvqa", "ai2d"),
    *("clevr", "elevater", "vsr", "grid3d"),
}
OUT_OF_DOMAIN = {"iconqa", "okvqa", "chartqa", "ai2d", "vsr", "grid3d", "nlvr2"}
KINDS = {
    **dict.fromkeys(("coco", "textcaps", "image2paragraph"), Kind.CAPTION),
    **dict.fromkeys(("spot_the_diff", "image_editing_request"), Kind.CHANGE),
    "nlvr2": Kind.PAIR,
}
TEXTS = ("alpha one", "beta two", "gamma three")


def test_the_sets_have_the_papers_sizes() -> None:
    sizes: Counter[str] = Counter()
    for spec in ASKED:
        official = PICTURED.get(spec.name) or catalogue()[spec.name].splits.get(spec.split)
        sizes[set_of(spec.name, spec.split)] += min((n for n in (spec.limit, official) if n), default=0)
    assert {name: sizes[name] for name in TABLES} == TABLES
    assert sizes["nlvr2"] == 3000
    assert sum(sizes[name] for name in FIGURES) == pytest.approx(52_000, rel=0.001)
    assert PARAMS.limits.evaluation is None
    assert set(sizes) == FIGURES | set(TABLES) | {"spot_the_diff", "image_editing_request", "nlvr2"}


def test_what_pf1m_is_made_of_is_in_domain() -> None:
    names = {set_of(spec.name, spec.split) for spec in ASKED}
    assert {name for name in names if not is_in_domain(name, PARAMS.trained_on)} == OUT_OF_DOMAIN


def test_where_published_pf1m_is_trained_on_its_sets_are_in_domain() -> None:
    published = SourceSpec(name="pf1m_json", folder="pf1m", role="pf1m", split="train")
    others = [spec for spec in PARAMS.sources if spec.role != "annotation"]
    trained_on = PARAMS.model_copy(update={"sources": [*others, published]}).trained_on
    names = {set_of(spec.name, spec.split) for spec in ASKED}
    assert {name for name in names if not is_in_domain(name, trained_on)} == OUT_OF_DOMAIN


def test_a_source_that_is_trained_on_is_not_there_for_its_reward_alone() -> None:
    with pytest.raises(ValueError, match="reward_only is for sources with role evaluation"):
        SourceSpec(name="alpaca", folder="alpaca", role="instruction", split="train", reward_only=True)


@pytest.mark.parametrize("name", sorted({spec.name for spec in ASKED}))
def test_each_reader_gives_a_question_and_what_its_answer_is_compared_with(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.source == name)
    files = Files(tmp_path)
    case.build(files, [Record(i, TEXTS) for i in range(2)])
    files.write()
    items = list(load_source(name).read(tmp_path, "set", case.split, seed=1))
    answers = [as_answer(sample, "x") for sample in measurable(item for item in items if isinstance(item, Sample))]
    assert answers
    for answer in answers:
        assert answer.instruction.strip()
        assert answer.images
        assert kind_of(answer) is KINDS.get(name, Kind.QUESTION)
        assert annotated(answer).strip()
        assert "Answer:" not in annotated(answer)
