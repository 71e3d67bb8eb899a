"""CLIPScore per paragraph, in the paper's mode and in the fixed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.unit.cases import case

from polite_flamingo.errors import ConfigError, ImageError
from polite_flamingo.images import open_image
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.base import finite
from polite_flamingo.scorers.clip import ClipScorer, load_clip


def caption(text: str, *images: str, task: Task = Task.CAPTION) -> Rewrite:
    pictures = tuple(Image(path) for path in images)
    return Rewrite("s/train/1", "s", "train", "-", task, "Describe.", pictures, "raw", text, "stop")


@pytest.fixture
def scorer(clip_folder: Path, image_root: Path) -> ClipScorer:
    return load_clip(clip_folder, image_root=image_root, device="cpu")


@pytest.fixture
def fixed(clip_folder: Path, image_root: Path) -> ClipScorer:
    return load_clip(clip_folder, image_root=image_root, device="cpu", mode="fixed")


def by_hand(folder: Path, root: Path, image: str, pieces: list[str]) -> float:
    import torch
    from transformers import AutoTokenizer, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(images=[open_image(root, image)], return_tensors="pt")
    with torch.inference_mode():
        seen = model.get_image_features(**pixels).pooler_output
        seen = seen / seen.norm(dim=-1, keepdim=True)
        texts = []
        for piece in pieces:  # one at a time: padding must not matter
            ids = tokenizer(piece, truncation=True, max_length=12, return_tensors="pt")
            told = model.get_text_features(input_ids=ids["input_ids"]).pooler_output
            texts.append(told / told.norm(dim=-1, keepdim=True))
        return float(100 * seen[0] @ torch.cat(texts).mean(0))


def test_the_papers_mode_averages_normalised_pieces_with_the_empty_tail(
    scorer: ClipScorer, clip_folder: Path, image_root: Path
) -> None:
    (row,) = scorer.score([caption("The image shows a red circle. There is a blue star.", "red.png")])
    pieces = ["The image shows a red circle", " There is a blue star", ""]
    assert row == [pytest.approx(by_hand(clip_folder, image_root, "red.png", pieces), abs=1e-3)]


def test_the_papers_mode_reads_ten_pieces_at_most(scorer: ClipScorer) -> None:
    assert scorer.pieces("a. " * 30) == ["a", *[" a"] * 9]


def test_the_fixed_mode_reads_all_real_sentences_and_no_empty_one(
    fixed: ClipScorer, clip_folder: Path, image_root: Path
) -> None:
    assert fixed.pieces("A red star. Is it 3.5 wide? Yes!") == ["A red star.", "Is it 3.5 wide?", "Yes!"]
    assert len(fixed.pieces("A star. " * 30)) == 30
    (row,) = fixed.score([caption("A red star. Yes!", "red.png")])
    assert row == [pytest.approx(by_hand(clip_folder, image_root, "red.png", ["A red star.", "Yes!"]), abs=1e-3)]


def test_the_fixed_mode_cuts_long_sentences_into_chunks_the_model_can_read(fixed: ClipScorer) -> None:
    pieces = fixed.pieces("a red star " * 10)
    assert " ".join(pieces) == " ".join(["a", "red", "star"] * 10)
    assert {len(p.split()) for p in pieces} == {10}  # 12 positions less start and end


def test_each_paragraph_has_its_logit(scorer: ClipScorer) -> None:
    first, second = "A red circle.", "A blue star."
    (row,) = scorer.score([caption(f"{first}\n\n{second}", "red.png")])
    alone = [scorer.score([caption(text, "red.png")])[0] for text in (first, second)]
    assert row == pytest.approx([alone[0][0], alone[1][0]], abs=1e-3)  # type: ignore[index]


def test_with_two_images_the_better_one_counts(scorer: ClipScorer) -> None:
    text = "A red circle."
    one, two = (scorer.score([caption(text, name)])[0][0] for name in ("red.png", "blue.png"))  # type: ignore[index]
    (row,) = scorer.score([caption(text, "red.png", "blue.png", task=Task.CHANGE)])
    assert row == [pytest.approx(max(one, two), abs=1e-3)]
    assert one != two


def test_questions_and_records_without_images_have_no_clip_score(scorer: ClipScorer) -> None:
    assert scorer.score([caption("red", "red.png", task=Task.VQA), caption("red")]) == [None, None]


def test_very_long_text_is_cut_not_refused(scorer: ClipScorer) -> None:
    (row,) = scorer.score([caption("red " * 500, "red.png")])
    assert row is not None and -100 <= row[0] <= 100


def test_an_image_is_opened_and_encoded_once(
    scorer: ClipScorer, image_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counting(root: Path, path: str) -> Any:
        opened.append(path)
        return open_image(root, path)

    monkeypatch.setattr("polite_flamingo.scorers.clip.open_image", counting)
    scorer.score([caption("red", "red.png"), caption("blue", "red.png")])
    scorer.score([caption("star", "red.png"), caption("star", "blue.png", "red.png")])
    assert opened == ["red.png", "blue.png"]


def test_a_broken_image_is_named(scorer: ClipScorer) -> None:
    with pytest.raises(ImageError) as raised:
        scorer.score([caption("red", "broken.png")])
    assert raised.value.where == "broken.png"


def test_an_image_of_one_pixel_has_a_score(scorer: ClipScorer, image_root: Path) -> None:
    PILImage.new("RGB", (1, 1), (255, 0, 0)).save(image_root / "one.png")
    (row,) = scorer.score([caption("A red circle.", "one.png")])
    assert row is not None and -100 <= row[0] <= 100


def test_text_of_any_script_has_a_finite_score(clip_folder: Path, image_root: Path) -> None:
    for text in [
        "一个红色的圆圈在图片中。" * 20,
        "Красный круг. Синяя звезда.",
        "دائرة حمراء",
        "🦩" * 200,
        "x" * 3000,
        ". . .",
    ]:
        for mode in ["paper", "fixed"]:
            with case(text, mode):
                scorer = load_clip(clip_folder, image_root=image_root, device="cpu", mode=mode)
                (row,) = scorer.score([caption(text, "red.png")])
                assert row is not None and finite(row)


def test_the_fixed_mode_reads_ten_thousand_words_to_the_end(fixed: ClipScorer) -> None:
    text = "a red star in the image " * 1666 + "and blue"
    assert " ".join(fixed.pieces(text)).split() == text.split()


def test_an_empty_text_is_not_asked_about(scorer: ClipScorer) -> None:
    assert scorer.score([caption("", "red.png"), caption(" \n\n ", "red.png")]) == [None, None]


def test_an_unknown_mode_is_named(clip_folder: Path, image_root: Path) -> None:
    with pytest.raises(ConfigError, match="paper or fixed"):
        load_clip(clip_folder, image_root=image_root, device="cpu", mode="best")
