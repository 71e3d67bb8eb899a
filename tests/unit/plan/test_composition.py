"""PF-1M of the paper's profile beside Table 6, by arithmetic and by drawing ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.unit.cases import case

from polite_flamingo.draws import Smallest, keys
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.composition import OTHER, composition, render, row_of, rows
from polite_flamingo.plan.paper import ADOPTED, KEPT_OF_THE_REST, REWRITTEN, TABLE_6
from polite_flamingo.sources import catalogue
from polite_flamingo.sources.drawing import name_of
from polite_flamingo.sources.selection import SourceSpec

ROOT = Path(__file__).parents[3]
MORE = 1.02  # of a set larger than its limit only so much is made: what lies beyond changes which ids, not how many


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml", "paper_8xa100")


def drawn(source: SourceSpec, seed: int) -> int:
    """Ids drawn from a set of the official size."""
    official = catalogue()[source.name].splits.get(source.split)
    if source.limit is None:
        assert official is not None, source
        return official
    size = min(int(source.limit * MORE), source.limit * 2 if official is None else official)
    smallest = Smallest(source.limit)
    smallest.add(keys(name_of(f"{source.name}/{source.split}/{i}", seed) for i in range(size)))
    return len(smallest)


def test_ids_drawn_from_sets_of_official_size_are_the_papers_before_filtering(params: Params) -> None:
    taken: Counter[str] = Counter()
    for source in params.sources:
        if source.role == "annotation":
            taken[row_of(source.name)] += drawn(source, params.seed)
    assert taken.total() == REWRITTEN
    for one in composition(params):
        row, adopted = one["row"], one["paper"]
        with case(row):
            assert taken[row] == one["quota"]
            assert one["expected"] == pytest.approx(adopted, rel=0.01)
            assert one["whole"] or taken[row] * KEPT_OF_THE_REST == pytest.approx(adopted, rel=0.01)


def test_the_plan_has_a_row_for_each_of_table_6_and_the_papers_sum(params: Params) -> None:
    table = composition(params)
    assert [one["row"] for one in table] == list(TABLE_6)
    assert sum(one["expected"] for one in table) == pytest.approx(ADOPTED, rel=1e-3)
    text = "\n".join(render(table))
    assert "Flickr-30k                   31,783     31,695     31,695       +0.0%  the whole set" in text
    assert sum(adopted for adopted, _ in TABLE_6.values()) == ADOPTED


def test_table_6_is_the_catalogues() -> None:
    known = {entry.name: entry.pf1m for entry in catalogue().values() if entry.pf1m is not None}
    assert known == {names: adopted for adopted, names in TABLE_6.values() if names in catalogue()}


def test_a_source_of_ones_own_is_listed_apart_and_unknown_rows_are_none(params: Params) -> None:
    mine = [SourceSpec(name=n, folder="f", role="annotation", split="train") for n in ("my.reader:Mine", "ocrvqa")]
    made = params.model_copy(update={"sources": mine})
    table = {one["row"]: one for one in composition(made)}
    assert table[OTHER]["quota"] is None
    assert (table["OCR-VQA"]["quota"], table["CLEVR"]["quota"]) == (None, 0)
    assert rows(made, mine[0]) is None
    assert f"{OTHER:<24}          -" in "\n".join(render(list(table.values())))
