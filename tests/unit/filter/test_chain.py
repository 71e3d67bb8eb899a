"""The whole chain: order, verdicts, edits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.filter.scoring import decide, judge, with_columns

from polite_flamingo.filter.chain import ORDER, FilterSettings
from polite_flamingo.filter.paragraphs import without_cuts
from polite_flamingo.filter.sts import StsFilter
from polite_flamingo.records import Image, Rewrite, Task

ROOT = Path(__file__).parents[3]
GOOD = {"rouge_l": 0.3, "sts": 0.7, "nli": None, "clip_logits": [25.0, 24.0], "reward": 1.0, "reward_raw": -1.0}


def caption(text: str = "A red circle is here.\n\nIt is in the top left.", **scores: Any) -> Rewrite:
    bare = Rewrite("s/1", "s", "train", "-", Task.CAPTION, "q", (Image("a.png"),), "raw", text, "stop")
    return with_columns(bare, **{**GOOD, "clip_logits": [25.0, 24.0][: len(bare.paragraphs)], **scores})


def answer(text: str = "The circle is red.", nli: list[float] | None = None) -> Rewrite:
    scores = {**GOOD, "clip_logits": None, "nli": nli or [-1.0, 3.0, 0.0]}
    return with_columns(Rewrite("s/2", "s", "train", "-", Task.VQA, "q", (), "red", text, "stop"), **scores)


def test_a_good_record_passes_every_filter() -> None:
    decision = decide(caption(), FilterSettings())
    assert decision.kept and decision.failed is None
    assert tuple(decision.verdicts) == ORDER
    assert all(v.passed for v in decision.verdicts.values())
    assert decision.rewrite == without_cuts(caption())


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (caption("Red."), "length"),
        (caption(rouge_l=0.99), "change"),
        (caption(sts=0.2), "sts"),
        (caption(clip_logits=[1.0, 2.0]), "paragraphs"),
        (answer(nli=[3.0, 0.0, 0.0]), "nli"),
        (answer("it is red and " * 20), "repetition"),
        (answer("It is red [0.1, 0.2, 0.3, 0.4]."), "leaked_boxes"),
        (replace(answer(), finish_reason="length"), "unfinished"),
    ],
)
def test_every_filter_can_reject_and_is_named(record: Rewrite, name: str) -> None:
    decision = decide(record, FilterSettings())
    assert decision.failed == name
    assert str(decision.reason).startswith(name)
    assert [n for n, v in decision.verdicts.items() if not v.passed] == [name]


def test_the_first_filter_in_the_order_of_the_figure_gives_the_reason_and_all_give_a_verdict() -> None:
    bad = replace(caption("Red. [0, 0, 1, 1]", rouge_l=1.0, sts=0.1, clip_logits=[1.0]), finish_reason="length")
    decision = decide(bad, FilterSettings().changed({"length.min_words": 10}))
    assert str(decision.reason).startswith("length")
    failed = [n for n, v in decision.verdicts.items() if not v.passed]
    assert failed == ["length", "change", "sts", "leaked_boxes", "unfinished"]


def test_a_verdict_shows_score_and_threshold() -> None:
    verdicts = decide(caption(sts=0.2), FilterSettings()).verdicts
    assert (verdicts["sts"].score, verdicts["sts"].threshold, verdicts["sts"].passed) == (0.2, 0.4, False)
    assert verdicts["nli"].score is None


def test_a_cut_paragraph_is_gone_from_a_kept_record() -> None:
    decision = decide(caption(clip_logits=[25.0, 10.0]), FilterSettings())
    assert decision.kept
    assert decision.text == "A red circle is here."
    assert decision.cut == ((10.0, "It is in the top left."),)
    assert decision.rewrite.scores["clip_logits"] == [25.0]


def test_filters_after_the_paragraph_step_see_what_it_left() -> None:
    text = "A red circle is here.\n\nBox: [0.1, 0.2, 0.3, 0.4]."
    assert decide(caption(text, clip_logits=[25.0, 10.0]), FilterSettings()).kept
    assert decide(caption(text), FilterSettings()).failed == "leaked_boxes"


def test_a_rejected_record_keeps_its_text() -> None:
    record = caption(clip_logits=[25.0, 10.0], sts=0.1)
    decision = decide(record, FilterSettings())
    assert decision.rewrite == record
    assert decision.cut == ((10.0, "It is in the top left."),)


def test_raising_a_threshold_only_ever_rejects_more() -> None:
    records = [caption(sts=s / 20) for s in range(20)]
    kept = [
        sum(decide(r, FilterSettings().changed({"sts.min_cosine": t / 20})).kept for r in records) for t in range(20)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 20 and kept[-1] == 1


def test_deciding_imports_no_torch() -> None:
    code = (
        "import sys; import polite_flamingo.filter.chain, polite_flamingo.stages.filter; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'sentence_transformers')))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0
    )


def test_a_task_may_have_its_own_sts_threshold() -> None:
    own = StsFilter(min_cosine=0.4, per_task={"change": 0.85})
    assert judge(own, caption(sts=0.6)).kept
    assert judge(own, replace(caption(sts=0.6), task=Task.CHANGE)).reason == "sts: 0.6000 below 0.85"
