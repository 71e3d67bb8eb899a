import pytest

from polite_flamingo.errors import DataError


def items(*names: str, split: str = "train") -> dict[str, object]:
    sentences = [{"raw": " many trees .", "tokens": []}, {"raw": ""}, {"raw": "trees"}, {"raw": "many trees ."}]
    return {"images": [{"filename": n, "split": split, "imgid": 0, "sentences": sentences} for n in names]}


def test_each_set_is_read_whatever_the_case_of_its_names(root) -> None:
    for name, file, images in [
        ("rsicd", "dataset_rsicd.json", "RSICD_images"),
        ("rsitmd", "dataset_RSITMD.json", "images"),
        ("rsitmd", "dataset_rsitmd.json", "images"),
        ("ucm", "dataset.json", "imgs"),
        ("ucm", "Dataset_UCM.json", "images"),
    ]:
        with root.case(name, file, images):
            root.image(f"{name}/{images}/1.tif")
            root.json(f"{name}/{file}", items("1.tif"))
            (sample,), rejects = root.read(name, name, "train")
            assert rejects == []
            assert (sample.id, sample.source, sample.images[0].path) == (
                f"{name}/train/1",
                name,
                f"{name}/{images}/1.tif",
            )


def test_repeated_and_blank_captions_are_left_out(root) -> None:
    root.json("rsicd/dataset_rsicd.json", items("airport_1.jpg"))
    (sample,), _ = root.read("rsicd", "rsicd", "train")
    assert sample.response == "many trees .\ntrees"
    assert sample.extras["captions"] == ["many trees .", "trees"]


def test_an_image_is_found_whatever_the_case_of_its_name(root) -> None:
    root.image("rsitmd/images/Boat_4.TIF")
    root.json("rsitmd/dataset_RSITMD.json", items("boat_4.tif", "boat_5.tif"))
    samples, _ = root.read("rsitmd", "rsitmd", "train")
    assert [s.images[0].path for s in samples] == ["rsitmd/images/Boat_4.TIF", "rsitmd/images/boat_5.tif"]


def test_an_image_without_caption_is_rejected(root) -> None:
    root.json("ucm/dataset.json", {"images": [{"filename": "1.tif", "split": "test", "sentences": [{"raw": " "}]}]})
    samples, (reject,) = root.read("ucm", "ucm", "test")
    assert (samples, reject.reason, reject.value) == ([], "image has no caption", "1.tif")


def test_the_file_of_another_set_is_not_taken(root) -> None:
    root.json("rsicd/dataset_RSITMD.json", items("1.tif"))
    with pytest.raises(DataError, match=r"no annotation file found[\s\S]*dataset_rsicd"):
        root.read("rsicd", "rsicd", "train")
