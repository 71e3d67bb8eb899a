"""Columns without a model, and what is left of a text when paragraphs are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cases import case

from polite_flamingo.filter.paragraphs import cut_paragraphs
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.likeness import opening, signatures
from polite_flamingo.scorers.rouge import rouge_l
from polite_flamingo.scorers.text import cut_texts, repeated_share, text_scores


def caption(text: str, task: Task = Task.CAPTION) -> Rewrite:
    return Rewrite("s/1", "s", "train", "-", task, "q", (Image("a.png"),), "raw", text, "stop")


def test_words_repetition_and_boxes_are_counted() -> None:
    scores = text_scores(caption("A b c d. A b c d. [0.1, 0.2, 0.3, 0.4]"), None)
    assert scores["words"] == 12
    assert scores["boxes"] == 1
    assert 0 < scores["repeated_share"] < 1
    assert scores["boxes_by_cut"] is None


def test_an_empty_text_has_columns_too() -> None:
    assert text_scores(caption(""), None) == {
        "words": 0, "repeated_share": 0.0, "boxes": 0, "repeated_share_by_cut": None, "boxes_by_cut": None,
    }  # fmt: skip


def test_the_lowest_paragraphs_go_first_and_the_others_keep_their_order() -> None:
    assert cut_texts(caption("A.\n\nB.\n\nC."), [3.0, 1.0, 2.0]) == ["A.\n\nB.\n\nC.", "A.\n\nC.", "A."]


def test_paragraphs_of_equal_logits_are_cut_together() -> None:
    assert cut_texts(caption("A.\n\nB.\n\nC."), [1.0, 2.0, 1.0]) == ["A.\n\nB.\n\nC.", "A.\n\nB.\n\nC.", "B."]


def test_nothing_can_be_cut_of_one_paragraph_of_an_answer_or_without_logits() -> None:
    for rewrite, logits in [
        (caption("A."), [1.0]),
        (caption("A.\n\nB.", Task.VQA), [1.0, 2.0]),
        (caption("A.\n\nB."), None),
    ]:
        with case(rewrite, logits):
            assert cut_texts(rewrite, logits) is None


@given(st.lists(st.integers(0, 4), min_size=2, max_size=6), st.floats(-1, 5))
def test_for_every_threshold_the_text_by_number_cut_is_the_editors(values: list[int], threshold: float) -> None:
    logits = [float(value) for value in values]
    text = "\n\n".join(f"Paragraph {i}." for i in range(len(logits)))
    texts = cut_texts(caption(text), logits)
    below = sum(logit < threshold for logit in logits)
    scored = caption(text).with_scores(clip_logits=logits)
    left = cut_paragraphs(scored, [logit < threshold for logit in logits])[0].rewritten
    assert texts is not None and len(texts) == len(logits)
    if below < len(logits):
        assert texts[below] == left


def test_repetition_is_seen_in_scripts_without_spaces() -> None:
    for loop in ("你好你好" * 9, "猫が寝ている" * 6, "แมวนอนอยู่" * 6):
        assert repeated_share(loop) > 0.5
    told = "图片中有一只橘色的猫趴在窗台上,阳光从右侧照进来,窗外能看到几棵树和一条安静的小路。"
    assert repeated_share(told) == 0
    assert len(set(signatures([told, told[:-9] + "河。", "一只狗在沙滩上奔跑,身后是蓝色的大海。"]))) == 3
    assert opening(told) == "图 片 中"


def test_rouge_knows_equal_words_of_any_script_and_keeps_the_published_values() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    for text in ("一只猫坐在垫子上。", "สวัสดีครับ", "Кошка сидит.", "नमस्ते दुनिया।", "قطة تجلس،", "ねこ cat"):
        assert rouge_l(text, text) == 1
    assert rouge_l("Кошка сидит.", "Кошка спит.") == 0.5
    assert 0 < rouge_l("一只猫", "一只狗") < 1
    published = RougeScorer(["rougeL"], use_stemmer=True)
    for text, other in (("A café, naïve cats", "the café’s cat"), ("½ µ № 5 \u2013 ok", "5 ok"), ("!", "?"), ("", "a")):
        assert rouge_l(text, other) == published.score(other, text)["rougeL"].fmeasure
