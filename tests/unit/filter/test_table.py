"""The score table: the vectorised decision equals the single one, whatever the columns and thresholds."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.filter.scoring import with_columns

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import KEPT, ORDER, Thresholds, decide
from polite_flamingo.filter.table import count_rows, decide_table, read_batches, write_table
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.text import cut_texts, text_scores

WORDS = ("red", "circle", "a", "the", "[0, 0, 1, 1]", "left")
# few values, so that scores and thresholds often meet exactly
SHARES = st.sampled_from([-1.0, 0.0, 0.3, 0.39999, 0.4, 0.5, 0.95, 1.0])
LOGITS = st.sampled_from([-5.0, 16.9999, 17.0, 17.0001, 30.0])
PARAGRAPH = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@st.composite
def records(draw: st.DrawFn) -> Rewrite:
    paragraphs = draw(st.lists(PARAGRAPH, max_size=4))
    task = draw(st.sampled_from(Task))
    bare = Rewrite(
        "s/x", draw(st.sampled_from("ab")), "train", "-", task, "q", (Image("a.png"),), "raw", "\n\n".join(paragraphs),
        draw(st.sampled_from(["stop", "length"])),
    )  # fmt: skip
    k = len(bare.paragraphs)
    scores: dict[str, Any] = {
        "rouge_l": draw(SHARES),
        "sts": draw(st.none() | SHARES),
        "nli": draw(st.none() | st.lists(LOGITS, min_size=3, max_size=3)),
        "clip_logits": draw(st.none() | st.lists(LOGITS, min_size=k, max_size=k)),
    }
    counts = st.integers(0, 2)
    for name in ("unsupported_objects", "numbers_changed", "yes_no_flipped"):
        scores[name] = draw(st.none() | counts)
    if scores["clip_logits"] is not None and k > 1 and task.is_caption:
        for name, values in (("sts", SHARES), ("unsupported_objects", counts), ("numbers_changed", counts)):
            if scores[name] is not None:
                after = draw(st.lists(values, min_size=k - 1, max_size=k - 1))
                scores[f"{name}_by_cut"] = [scores[name], *after]
    return with_columns(bare, **scores)


LABELS = st.sampled_from(["contradiction", "entailment", "neutral"])
THRESHOLDS = st.builds(
    Thresholds,
    min_words=st.integers(0, 5),
    max_words=st.integers(5, 30),
    max_rouge_l=SHARES,
    min_cosine=SHARES,
    min_cosine_per_task=st.dictionaries(st.sampled_from(["caption", "change", "detail"]), SHARES).map(
        lambda found: tuple(sorted(found.items()))
    ),
    min_clip_logit=LOGITS,
    nli_reject=st.lists(LABELS, unique=True).map(tuple),
    max_repeated_share=SHARES,
    max_boxes=st.integers(0, 2),
    max_unsupported_objects=st.none() | st.integers(0, 2),
    max_numbers_changed=st.none() | st.integers(0, 2),
    reject_yes_no_flipped=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(records(), min_size=1, max_size=12), THRESHOLDS)
def test_deciding_on_the_table_equals_deciding_record_by_record(found: list[Rewrite], thresholds: Thresholds) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_table(found, Path(folder) / "table")
        ((_, decisions),) = decide_table(Path(folder) / "table", thresholds)
    singles = [decide(record, thresholds) for record in found]
    names = [None if place == KEPT else ORDER[place] for place in decisions.failed]
    assert names == [single.failed for single in singles]
    for name in ORDER:
        expected = [single.verdicts[name] for single in singles]
        scores = [np.nan if verdict.score is None else verdict.score for verdict in expected]
        np.testing.assert_array_equal(decisions.verdicts[name].score, scores)
        assert decisions.verdicts[name].rejected.tolist() == [not verdict.passed for verdict in expected]
    cut = [0 if not single.verdicts["paragraphs"].passed else len(single.cut) for single in singles]
    assert decisions.cut.tolist() == cut


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records(), LOGITS)
def test_a_kept_record_has_the_scores_of_its_final_text(record: Rewrite, min_clip_logit: float) -> None:
    lenient = Thresholds(
        min_words=0, min_cosine=-1.0, max_rouge_l=1.0, nli_reject=(), max_repeated_share=1.0, max_boxes=99,
        min_clip_logit=min_clip_logit,
    )  # fmt: skip
    decision = decide(replace(record, finish_reason="stop"), lenient)
    if not decision.kept:
        assert decision.failed == "paragraphs" and decision.text == record.rewritten
        return
    texts = cut_texts(record, record.scores["clip_logits"])
    assert decision.text == (record.rewritten if texts is None else texts[len(decision.cut)])
    expected = text_scores(decision.rewrite, None)
    found = decision.rewrite.scores
    assert {name: found[name] for name in ("boxes", "repeated_share")} == {
        name: expected[name] for name in ("boxes", "repeated_share")
    }
    assert not any(name.endswith("_by_cut") for name in found)
    if decision.cut:
        assert len(found["clip_logits"]) == len(decision.rewrite.paragraphs)


def plain(number: int, **scores: Any) -> Rewrite:
    bare = Rewrite(f"s/{number}", "s", "train", "-", Task.VQA, "q", (), "raw", "It is a red circle.", "stop")
    return with_columns(bare, rouge_l=0.3, **scores)


def test_the_table_keeps_the_order_of_the_records_over_groups_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polite_flamingo.filter.table.ROWS_PER_GROUP", 3)
    monkeypatch.setattr("polite_flamingo.filter.table.GROUPS_PER_PART", 2)
    assert write_table((plain(i) for i in range(14)), tmp_path / "table") == 14 == count_rows(tmp_path / "table")
    assert [p.name for p in sorted((tmp_path / "table").iterdir())] == [f"part-{i:06d}.parquet" for i in range(3)]
    batches = list(read_batches(tmp_path / "table", ["id"]))
    assert [len(batch) for batch in batches] == [3, 3, 3, 3, 2]
    assert [i for batch in batches for i in batch.rows.column(0).to_pylist()] == [f"s/{i}" for i in range(14)]


def test_a_record_that_was_never_scored_and_a_score_that_is_no_number_stop_the_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has not been scored") as caught:
        write_table([plain(0), replace(plain(1), scores={"words": 3})], tmp_path / "table")
    assert caught.value.where == "s/1"
    for bad in ({"sts": float("nan")}, {"nli": [0.0, float("nan"), 1.0]}):
        with pytest.raises(DataError, match="not a number") as caught:
            write_table([plain(0), plain(1, **bad)], tmp_path / "table")
        assert (caught.value.where, caught.value.value) == ("s/1", next(iter(bad)))
    assert list(tmp_path.iterdir()) == []


def test_without_a_table_the_stage_that_writes_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="polite-flamingo score"):
        list(read_batches(tmp_path / "table"))
