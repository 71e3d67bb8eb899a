import base64
import io

from PIL import Image as PILImage

from polite_flamingo.records import Task
from polite_flamingo.sources.forms import pictures

COCO = "m3it/data/captioning/coco"


def encoded(colour: str = "red") -> str:
    file = io.BytesIO()
    PILImage.new("RGB", (8, 8), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def row(**values: object) -> dict[str, object]:
    asked = {"instruction": "Write a caption.", "inputs": "", "outputs": "A cat."}
    return {**asked, "image_base64_str": [encoded()], "meta": {"source": "coco"}, **values}


def test_m3it_asks_instruction_and_inputs_and_keeps_its_images(root) -> None:
    root.lines(f"{COCO}/train.jsonl", row(), row(inputs="Is it red?", image_base64_str=[encoded(), encoded("blue")]))
    root.lines(f"{COCO}/val.jsonl", row(outputs="Of another split."))
    (first, second), rejects = root.read("m3it", "m3it", "train")
    assert rejects == []
    assert (first.id, first.task) == (f"m3it/train/{COCO}-1", Task.DIALOGUE)
    assert (first.instruction, first.response, first.extras) == (
        "Write a caption.", "A cat.", {"meta": {"source": "coco"}},
    )  # fmt: skip
    assert second.instruction == "Write a caption.\nIs it red?"
    assert second.turns[0].images == (0, 1) and second.images[0] == first.images[0]
    assert all((root.path / image.path).is_file() for image in second.images)


def test_the_latest_file_of_a_split_and_the_wordings_beside_it_are_read(root) -> None:
    root.json(f"{COCO}/instructions.json", ["Caption it.", " ", "What is it?"])
    root.lines(f"{COCO}/train.jsonl", row())
    root.lines(f"{COCO}/train_2023-10-08.jsonl", *[row(instruction=None, outputs=[f"Cat {n}."]) for n in range(20)])
    samples, _ = root.read("m3it", "m3it/data/captioning/coco", "train")
    assert [s.response for s in samples] == [f"Cat {n}." for n in range(20)]
    assert {s.instruction for s in samples} == {"Caption it.", "What is it?"}


def test_m3it_rows_that_cannot_be_used_lose_only_themselves(root, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "MAX_IMAGE_BYTES", 500)
    for values, reason in [
        ({"outputs": None}, "row lacks 'outputs'"),
        ({"outputs": []}, "'outputs' is not of type str"),
        ({"outputs": [3]}, "'outputs' is not of type str"),
        ({"instruction": "", "inputs": None}, "record asks nothing"),
        ({"inputs": ["a"]}, "'inputs' is not of type str"),
        ({"image_base64_str": ["%%%"]}, "embedded image is no base64"),
        ({"image_base64_str": [base64.b64encode(b"text").decode()]}, "embedded bytes are no image"),
        ({"image_base64_str": [encoded()[:40]]}, "embedded bytes are no image"),
        ({"image_base64_str": ["A" * 1000]}, "embedded image is too large"),
        ({"image_base64_str": [7]}, "embedded image is not text"),
    ]:
        with root.case(values, reason):
            root.lines(f"{COCO}/train.jsonl", row(**values), row(image_base64_str=f"data:image/png;base64,{encoded()}"))
            (sample,), (reject,) = root.read("m3it", "m3it", "train")
            assert (sample.id, len(sample.images)) == (f"m3it/train/{COCO}-2", 1)
            assert (reject.file, reject.row, reject.reason) == (f"{COCO}/train.jsonl", "1", reason)


def test_lines_that_are_no_objects_are_rejected(root) -> None:
    root.text(f"{COCO}/train.jsonl", '{"outputs": \n"text"\n')
    samples, rejects = root.read("m3it", "m3it", "train")
    assert (samples, [r.row for r in rejects]) == ([], ["1", "2"])
