"""The score table: deciding on its columns equals deciding by hand, whatever the columns and settings."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.filter.scoring import decide, decide_records, with_columns

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import KEPT, ORDER, FilterSettings
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
    if draw(st.booleans()):
        judged = {"judge_supported": draw(SHARES), "judge_other_answer": draw(counts), "judge_reason": "of no kind"}
        scores |= judged
    if scores["clip_logits"] is not None and k > 1 and task.is_caption:
        for name, values in (("sts", SHARES), ("unsupported_objects", counts), ("numbers_changed", counts)):
            if scores[name] is not None:
                after = draw(st.lists(values, min_size=k - 1, max_size=k - 1))
                scores[f"{name}_by_cut"] = [scores[name], *after]
    return with_columns(bare, **scores)


TRIES = settings(max_examples=max(150, settings().max_examples))
LABELS = st.sampled_from(["contradiction", "entailment", "neutral"])
SETTINGS = st.fixed_dictionaries(
    {
        "length.min_words": st.integers(0, 5),
        "length.max_words": st.integers(5, 30),
        "change.max_rouge_l": SHARES.filter(lambda share: share >= 0),
        "sts.min_cosine": SHARES,
        "sts.per_task": st.dictionaries(st.sampled_from(["caption", "change", "detail"]), SHARES),
        "paragraphs.min_clip_logit": LOGITS,
        "nli.reject": st.lists(LABELS, unique=True),
        "repetition.max_share": SHARES.filter(lambda share: share >= 0),
        "leaked_boxes.max_boxes": st.integers(0, 2),
        "unsupported_objects.max_objects": st.none() | st.integers(0, 2),
        "numbers.max_changed": st.none() | st.integers(0, 2),
        "judge.min_supported": st.none() | SHARES.filter(lambda share: share >= 0),
        "judge_answer.reject_other": st.booleans(),
        "yes_no.reject_flipped": st.booleans(),
    }
).map(FilterSettings().changed)


def by_hand(record: Rewrite, now: FilterSettings) -> dict[str, tuple[float | None, bool]]:
    """Score and verdict (True: passed) of every filter, one record at a time, as docs/filters.md tells the rules."""
    scores, task = record.scores, record.task
    logits = scores["clip_logits"] if task.is_caption and len(scores["clip_logits"] or ()) > 1 else None
    below = sum(logit < now.paragraphs.min_clip_logit for logit in logits or ())
    all_cut = logits is not None and below == len(logits)
    cut = 0 if all_cut else below

    def after(column: str) -> float | None:
        value = scores[column]
        return scores[f"{column}_by_cut"][cut] if value is not None and cut else value

    def at_most(column: str, limit: float | None) -> tuple[float | None, bool]:
        score = scores[column] if column in ("yes_no_flipped", "judge_other_answer") else after(column)
        return score, score is None or limit is None or score <= limit

    words, rouge, nli = scores["words"], scores["rouge_l"], scores["nli"] if task.is_vqa else None
    sts = after("sts") if task.is_caption else None
    supported, low = scores["judge_supported"], now.judge.min_supported
    label = None if nli is None else ("contradiction", "entailment", "neutral")[nli.index(max(nli))]
    return {
        "length": (words, now.length.min_words <= words <= now.length.max_words),
        "change": (rouge, rouge <= now.change.max_rouge_l),
        "sts": (sts, sts is None or sts >= now.sts.per_task.get(str(task), now.sts.min_cosine)),
        "paragraphs": (None if logits is None else min(logits), not all_cut),
        "nli": (None if nli is None else nli[0], label not in now.nli.reject),
        "repetition": at_most("repeated_share", now.repetition.max_share),
        "leaked_boxes": at_most("boxes", now.leaked_boxes.max_boxes),
        "unfinished": (None, record.finish_reason != "length"),
        "unsupported_objects": at_most("unsupported_objects", now.unsupported_objects.max_objects),
        "numbers_changed": at_most("numbers_changed", now.numbers.max_changed),
        "judge_supported": (supported, None in (supported, low) or supported >= low),
        "judge_other_answer": at_most("judge_other_answer", 0 if now.judge_answer.reject_other else None),
        "yes_no_flipped": at_most("yes_no_flipped", 0 if now.yes_no.reject_flipped else None),
        "learned": (None, True),  # no model: tests/unit/calibrate/test_learned.py
    }


@TRIES
@given(st.lists(records(), min_size=1, max_size=12), SETTINGS)
def test_deciding_on_columns_equals_deciding_record_by_record(rewrites: list[Rewrite], now: FilterSettings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_table(rewrites, Path(folder) / "table")
        ((_, decisions),) = decide_table(Path(folder) / "table", now, ("id",))
    expected = [by_hand(record, now) for record in rewrites]
    assert tuple(expected[0]) == ORDER
    first = [next((name for name, (_, passed) in one.items() if not passed), None) for one in expected]
    assert [None if index == KEPT else ORDER[index] for index in decisions.failed] == first
    for (record, decision), one in zip(decisions.on(rewrites), expected, strict=True):
        assert {name: (result.score, result.passed) for name, result in decision.verdicts.items()} == one
        assert (decision.reason or "").partition(":")[0] == (decision.failed or "")
        assert decision.rewrite == record or decision.kept
    assert [decision for _, decision in decisions.on(rewrites)] == decide_records(rewrites, now)


@TRIES
@given(records(), LOGITS)
def test_a_kept_record_has_the_scores_of_its_final_text(record: Rewrite, min_clip_logit: float) -> None:
    lenient = FilterSettings().changed(
        {
            "length.min_words": 0, "sts.min_cosine": -1.0, "change.max_rouge_l": 1.0, "nli.reject": [],
            "repetition.max_share": 1.0, "leaked_boxes.max_boxes": 99, "paragraphs.min_clip_logit": min_clip_logit,
        }
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
    with pytest.raises(DataError, match="--until score"):
        list(read_batches(tmp_path / "table"))
