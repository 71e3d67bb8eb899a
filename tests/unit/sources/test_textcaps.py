from polite_flamingo.sources.forms import files

FILE = "textcaps/TextCaps_0.1_train.json"


def row(image: str, caption: str, references: list[str]) -> dict[str, object]:
    return {
        "caption_id": 1,
        "caption_str": caption,
        "reference_strs": references,
        "image_id": image,
        "image_path": f"train/{image}.jpg",
        "set_name": "train",
    }


def test_rows_that_repeat_all_captions_of_an_image_give_each_once(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            captions = ["A sign says  STOP.", "Stop sign.", "A red sign."]
            rows = [row("0a1b", c, captions) for c in captions]
            root.json(FILE, {"dataset_type": "train", "data": [rows[0], row("ffff", "A bus.", ["A bus."]), *rows[1:]]})
            samples, rejects = root.read("textcaps", "textcaps", "train")
            assert rejects == []
            assert [(s.id, s.response) for s in samples] == [
                ("textcaps/train/0a1b", "A sign says STOP.\nStop sign.\nA red sign."),
                ("textcaps/train/ffff", "A bus."),
            ]
            assert samples[0].images[0].path == "textcaps/train_images/0a1b.jpg"


def test_a_split_of_captions_gives_each_caption_a_sample(root) -> None:
    captions = ["A sign says STOP.", "Stop sign."]
    root.json(FILE, {"data": [*(row("0a", c, captions) for c in captions), row("0b", "A bus.", ["A bus."])]})
    samples, rejects = root.read("textcaps", "textcaps", "train_captions")
    assert rejects == []
    assert [(s.id, s.response, s.extras["captions"]) for s in samples] == [
        ("textcaps/train_captions/0a/0", "A sign says STOP.", ["A sign says STOP."]),
        ("textcaps/train_captions/0a/1", "Stop sign.", ["Stop sign."]),
        ("textcaps/train_captions/0b/0", "A bus.", ["A bus."]),
    ]
    assert {s.images[0].path for s in samples} == {"textcaps/train_images/0a.jpg", "textcaps/train_images/0b.jpg"}


def test_a_row_without_references_gives_its_own_caption(root) -> None:
    root.json(FILE, {"data": [{"image_id": "0a", "caption_str": "A bus."}, {"image_id": "0a", "caption_str": "Bus"}]})
    (sample,), _ = root.read("textcaps", "textcaps", "train")
    assert sample.extras["captions"] == ["A bus.", "Bus"]


def test_images_of_val_lie_with_those_of_train_also_in_the_folder_of_textvqa(root) -> None:
    root.image("textvqa/train_images/0a.jpg")
    root.json(FILE.replace("train", "val"), {"data": [row("0a", "A bus.", []), row("0b", "A car.", [])]})
    samples, _ = root.read("textcaps", "textcaps", "val")
    assert [s.images[0].path for s in samples] == ["textvqa/train_images/0a.jpg", "textcaps/train_images/0b.jpg"]


def test_the_official_test_split_has_no_captions_and_is_rejected(root) -> None:
    root.json(FILE.replace("train", "test"), {"data": [{"image_id": "0a", "image_path": "test/0a.jpg"}]})
    samples, (reject,) = root.read("textcaps", "textcaps", "test")
    assert (samples, reject.reason, reject.value) == ([], "row has no caption", "0a")


def test_a_broken_row_loses_only_itself(root) -> None:
    for broken, reason in [
        ({"caption_str": "A bus."}, "row lacks 'image_id'"),
        (row("0a", " ", ["", " "]), "row has no caption"),
        ({"image_id": "0a", "caption_str": 5}, "a caption is not text"),
        ({"image_id": "0a", "reference_strs": "A bus."}, "a caption is not text"),
        (row("../0a", "A bus.", []), "image path leaves the data root"),
        ("text", "row is not an object"),
    ]:
        with root.case(broken, reason):
            root.json(FILE, {"data": [broken, row("0c", "A car.", [])]})
            (sample,), (reject,) = root.read("textcaps", "textcaps", "train")
            assert sample.id == "textcaps/train/0c"
            assert (reject.file, reject.row, reject.reason) == (FILE, "0", reason)
