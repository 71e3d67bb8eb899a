"""Filters on a source as a whole: near-duplicates and templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.filter.scoring import decide, with_columns

from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.filter.near_duplicates import BAND, equal_values
from polite_flamingo.filter.sets import ALL, SetVerdicts, judge_sets, switched_on
from polite_flamingo.filter.spool import Spool
from polite_flamingo.filter.table import write_table
from polite_flamingo.filter.whatif import whatif
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.likeness import BYTES, VALUES, opening, signatures

WORDS = [f"w{i}" for i in range(500)]


def text(seed: int, words: int = 60) -> str:
    return " ".join(Random(seed).choices(WORDS, k=words))


def record(number: int, said: str, source: str = "a", probe: str = "") -> Rewrite:
    bare = Rewrite(
        f"{source}/train/{number}", source, "train", "-", Task.TEXT, "q", (), "raw", said, "stop",
        {"probe": probe} if probe else {},
    )  # fmt: skip
    return with_columns(bare, rouge_l=0.2)


def judged(tmp_path: Path, records: Sequence[Rewrite], limits: Mapping[str, float] | None = None) -> SetVerdicts:
    write_table(records, tmp_path / "table")
    return judge_sets(tmp_path / "table", FilterSettings().changed(limits or {}))


def test_a_signature_estimates_the_similarity_of_word_trigrams() -> None:
    words = text(1, 200).split()
    other = [*words[:120], *text(2, 80).split()]
    exact = {tuple(words[i : i + 3]) for i in range(198)}, {tuple(other[i : i + 3]) for i in range(198)}
    similarity = len(exact[0] & exact[1]) / len(exact[0] | exact[1])
    a, b = (np.frombuffer(s, dtype="<u2") for s in signatures([" ".join(words), " ".join(other)]))
    assert (a == b).mean() == pytest.approx(similarity, abs=0.15)


def test_a_signature_depends_on_the_words_alone_and_not_on_its_neighbours() -> None:
    alone = signatures(["A red circle, here!"])
    assert alone == signatures(["", "a RED circle here", text(1)])[1:2]
    assert len(alone[0]) == BYTES
    assert signatures([]) == []
    assert alone[0][:8].hex() == "47d24a8a6ebd6b0d"  # the same on every machine: tables are compared byte by byte


@pytest.mark.parametrize(
    ("said", "begins"), [("The image, shows a dog.", "the image shows"), ("No.", "no"), ("", ""), ("图 像", "图 像")]
)
def test_an_opening_is_the_first_three_words(said: str, begins: str) -> None:
    assert opening(said) == begins


def test_a_near_duplicate_is_like_an_earlier_answer_of_its_source(tmp_path: Path) -> None:
    said = text(1)
    records = [record(0, said), record(1, text(2)), record(2, f"{said} end"), record(3, said, source="b")]
    found = judged(tmp_path, records, {"near_duplicates.max_similarity": 0.8})
    assert found.verdicts["near_duplicate"].rejected.tolist() == [False, False, True, False]
    assert found.verdicts["near_duplicate"].score[2] > 0.8
    assert found.report["a"]["near_duplicates"] == 1
    assert found.report["a"]["near_duplicate_share"] == 0.3333


def test_what_another_filter_rejects_and_injected_corruptions_are_not_looked_at(tmp_path: Path) -> None:
    said = text(1)
    records = [record(0, said, probe="number_changed"), record(1, "no"), record(2, said), record(3, "no")]
    found = judged(tmp_path, records, {"near_duplicates.max_similarity": 0.5})
    assert found.report["a"]["records"] == 1
    assert np.isnan(found.verdicts["near_duplicate"].score).tolist() == [True, True, False, True]
    assert not found.verdicts["near_duplicate"].rejected.any()


def test_of_a_template_as_many_records_stay_as_its_share_allows(tmp_path: Path) -> None:
    records = [record(i, f"The image shows {text(i)}") for i in range(8)]
    records += [record(i, f"Here {text(i)}") for i in range(8, 10)]
    found = judged(tmp_path, records, {"template.max_share": 0.5})
    assert found.verdicts["template"].rejected.tolist() == [*[False] * 5, *[True] * 3, False, False]
    assert found.verdicts["template"].score[0] == 0.8
    assert found.report["a"]["openings"][0] == ["the image shows", 0.8]


def test_while_no_limit_is_set_everything_is_measured_and_nothing_rejected(tmp_path: Path) -> None:
    found = judged(tmp_path, [record(i, text(1)) for i in range(3)])
    assert found.report["a"]["near_duplicates"] == 2
    assert not any(verdicts.rejected.any() for verdicts in found.verdicts.values())


def test_a_verdict_on_the_source_completes_the_decision_and_gives_the_record_back_whole(tmp_path: Path) -> None:
    records = [record(0, text(1)), record(1, text(1))]
    found = judged(tmp_path, records, {"near_duplicates.max_similarity": 0.8})
    first, second = (found.apply(r, decide(r, FilterSettings()), i) for i, r in enumerate(records))
    assert tuple(first.verdicts) == ALL
    assert first.kept and first.verdicts["near_duplicate"].threshold == 0.8
    assert second.failed == "near_duplicate"
    assert second.reason == "near_duplicate: similarity with an earlier answer 1.0000, above 0.8"
    assert second.rewrite == records[1]


def test_filters_beyond_the_paper_can_be_switched_on_one_by_one() -> None:
    assert switched_on(FilterSettings()) == ALL[:8]
    assert switched_on(FilterSettings().changed({"numbers.max_changed": 0, "template.max_share": 0.5})) == (
        *ALL[:8],
        "numbers_changed",
        "template",
    )
    assert switched_on(FilterSettings().changed({"yes_no.reject_flipped": True}))[8:] == ("yes_no_flipped",)


def test_trying_limits_counts_what_deciding_with_them_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polite_flamingo.filter.table.ROWS_PER_GROUP", 7)
    random = Random(5)
    records = [record(i, f"The image shows {text(random.randrange(20), 30)}", random.choice("ab")) for i in range(80)]
    limits = FilterSettings().changed(
        {"length.min_words": 20, "near_duplicates.max_similarity": 0.7, "template.max_share": 0.2}
    )
    write_table(records, tmp_path / "table")
    found = judge_sets(tmp_path / "table", limits)
    decided = [found.apply(one, decide(one, limits), i) for i, one in enumerate(records)]
    expected = Counter((one.source, made.failed or "kept") for one, made in zip(records, decided, strict=True))
    report = whatif(tmp_path, FilterSettings(), limits)["sources"]
    counted = {(source, fate): n for source, row in report.items() for fate, n in row["after"].items() if n}
    assert counted == dict(expected)
    assert {fate for _, fate in counted} == {"kept", "near_duplicate", "template"}


def test_an_empty_table_has_nothing_alike(tmp_path: Path) -> None:
    assert judged(tmp_path, []).report == {}


def spooled(signed: np.ndarray) -> Spool:
    rows = np.zeros(len(signed), [("row", "i8"), ("number", "i8"), ("opening", "u8"), ("signature", "u2", (VALUES,))])
    rows["row"] = rows["number"] = np.arange(len(signed))
    rows["signature"] = signed
    spool = Spool(rows.dtype.descr)
    spool.add(rows)
    return spool


def test_every_pair_that_is_nearly_equal_is_found() -> None:
    texts = [text(i) for i in range(300)]
    copies = [f"{texts[i]} and more" for i in range(0, 300, 3)]
    signed = np.frombuffer(b"".join(signatures([*texts, *copies])), dtype="<u2").reshape(-1, VALUES)
    found = equal_values(spooled(signed)) / VALUES
    assert (found[:300] < 0.5).all()
    assert (found[300:] > 0.8).all()


def alike(signed: np.ndarray) -> list[int]:
    """What `equal_values` has to find, answer by answer: each is compared with the first of its run of equal bands."""
    best = []
    firsts: list[dict[bytes, int]] = [{} for _ in range(VALUES // BAND)]
    for number, values in enumerate(signed):
        earlier = [
            known.setdefault(values[BAND * band : BAND * (band + 1)].tobytes(), number)
            for band, known in enumerate(firsts)
        ]
        best.append(max((int((signed[first] == values).sum()) for first in earlier if first != number), default=0))
    return best


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 120), rows=st.sampled_from([1, 3, 16, 50, 1000]))
def test_answers_compared_in_partitions_are_as_alike_as_one_by_one(monkeypatch, seed, count, rows) -> None:
    random = np.random.default_rng(seed)
    signed = random.integers(0, 3, (count, VALUES), dtype=np.uint16)  # so few values that many bands agree
    signed[random.random(count) < 0.3] = signed[0]
    monkeypatch.setattr("polite_flamingo.filter.spool.ROWS", rows)
    monkeypatch.setattr("polite_flamingo.filter.spool.PARTITIONS", 7)
    assert equal_values(spooled(signed)).tolist() == alike(signed)


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_verdicts_on_a_source_are_the_same_however_little_of_it_is_in_memory(tmp_path, monkeypatch, rows) -> None:
    random = Random(3)
    openings = ["The image shows", "There is a", "Here we see", "Look at the", "A"]
    records = [
        record(
            i, f"{openings[min(int(random.expovariate(0.9)), 4)]} {text(random.randrange(30), 20)}", random.choice("ab")
        )
        for i in range(150)
    ]
    limits = {"near_duplicates.max_similarity": 0.7, "template.max_share": 0.2}
    expected = judged(tmp_path, records, limits)
    monkeypatch.setattr("polite_flamingo.filter.spool.ROWS", rows)
    found = judged(tmp_path, records, limits)
    assert found.report == expected.report
    for name, verdicts in expected.verdicts.items():
        np.testing.assert_array_equal(found.verdicts[name].score, verdicts.score)
        assert found.verdicts[name].rejected.tolist() == verdicts.rejected.tolist()
        assert verdicts.rejected.any()
