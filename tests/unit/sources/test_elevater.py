import logging

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.records import Task
from polite_flamingo.sources.forms.knowledge import Fact, align
from polite_flamingo.sources.registry import catalogue, load_source

BASE = "elevater/classification/dtd_20211007"
ENTRY = {
    "name": "dtd",
    "version": 1,
    "type": "classification_multiclass",
    "root_folder": "classification/dtd_20211007",
    "labelmap": "labels.txt",
    "num_classes": 3,
    "train": {"index_path": "train.txt", "files_for_local_usage": ["train.zip"], "num_images": 2},
}


@pytest.fixture
def dtd(root):
    """Writes a description, a label map, an index of train and, if given, knowledge files."""

    def write(*lines: str, labels: str = "banded\npolka-dotted\nknitted\n", external=None, gpt3=None, **entry) -> None:
        root.json("elevater/vision_datasets.json", [{"name": "mnist"}, {**ENTRY, **entry}])
        root.text(f"{BASE}/labels.txt", labels)
        root.text(f"{BASE}/train.txt", "".join(f"{line}\n" for line in lines))
        if external is not None:
            root.json("elevater/knowledge/external/dtd_knowledge.tsv", external)
        if gpt3 is not None:
            root.json("elevater/knowledge/gpt3/GPT3_dtd.tsv", gpt3)

    return write


def known(name: str, wiki: object = None, wordnet: str = "", path: object = "") -> dict[str, object]:
    return {"classname": name, "def_wiki": wiki, "path_wn": path, "def_wn": wordnet}


def test_the_raw_answer_is_the_datasets_template_and_what_is_known_of_the_class(root, dtd) -> None:
    dtd(
        "train.zip@banded/banded 0001.jpg 0",
        "train.zip@polka-dotted/1.jpg 1",
        external=[known("banded", "A strip\nof material.", "bind together", ["set", "social_group"]), known("knitted")],
        gpt3=[
            {"classname": "banded", "gpt3": [" With bands.", " a strip of material.", " With bands."]},
            {"classname": "polka dotted", "gpt3": [" Having round dots."]},
        ],
    )
    (first, second), rejects = root.read("elevater_dtd", "elevater", "train")
    assert rejects == []
    assert (first.id, first.task) == ("elevater_dtd/train/train.zip@banded/banded 0001.jpg", Task.CAPTION)
    assert first.images[0].path == f"{BASE}/train/banded/banded 0001.jpg"
    assert first.instruction == "What is this?"
    assert first.response == (
        "a photo of a banded texture.\nbanded: A strip of material.\nbanded: bind together\nbanded: With bands."
    )
    assert first.extras["wordnet"] == {"banded": ["set", "social group"]}
    assert second.response == "a photo of a polka dotted texture.\npolka dotted: Having round dots."


def test_every_dataset_of_elevater_has_a_template_for_its_classes() -> None:
    readers = [load_source(name) for name in catalogue() if name.startswith("elevater_")]
    assert len(readers) == 15 and all(reader.template.count("{}") == 1 for reader in readers)
    assert load_source("elevater_oxford_pets").template.format("Persian") == "a photo of a Persian, a type of pet."
    assert load_source("elevater_gtsrb").template.format("stop") == 'a centered photo of a "stop" traffic sign.'


def test_without_knowledge_files_the_class_is_named_and_the_lack_logged(root, dtd, caplog) -> None:
    dtd("train.zip@1.jpg 0", labels="forest_road\n")
    with caplog.at_level(logging.WARNING):
        (sample,), _ = root.read("elevater_dtd", "elevater", "train")
    assert sample.response == "a photo of a forest road texture."
    assert "elevater/knowledge/gpt3/GPT3_dtd.tsv" in caplog.text


def test_null_definitions_give_no_text(root, dtd) -> None:
    dtd("train.zip@1.jpg 0", external=[known("banded"), known("knitted")])
    (sample,), rejects = root.read("elevater_dtd", "elevater", "train")
    assert (sample.response, rejects) == ("a photo of a banded texture.", [])


def test_an_image_with_several_labels_names_and_explains_them_all(root, dtd) -> None:
    dtd("train.zip@1.jpg 2,0,1", "train.zip@2.jpg 0,2", external=[known("knitted", "Made by knitting.")])
    (first, second), _ = root.read("elevater_dtd", "elevater", "train")
    pictured = [f"a photo of a {name} texture." for name in ("knitted", "banded", "polka-dotted")]
    assert first.response.split("\n") == [*pictured, "knitted: Made by knitting."]
    assert first.extras["labels"] == ["knitted", "banded", "polka-dotted"]
    assert second.extras["captions"] == [pictured[1], pictured[0]]


def test_labels_are_counted_from_zero_and_blank_lines_are_no_classes(root, dtd) -> None:
    dtd("train.zip@1.jpg 1", labels="banded\r\n\r\nknitted\r\n")
    (sample,), _ = root.read("elevater_dtd", "elevater", "train")
    assert sample.extras["labels"] == ["knitted"]


def test_images_lie_in_a_folder_named_like_the_archive_or_beside_it(root, dtd) -> None:
    dtd("train.zip@a.jpg 0", "train.zip@b.jpg 0", "loose/c.jpg 0")
    root.image(f"{BASE}/b.jpg")
    samples, _ = root.read("elevater_dtd", "elevater", "train")
    assert [s.images[0].path.removeprefix(BASE) for s in samples] == ["/train/a.jpg", "/b.jpg", "/loose/c.jpg"]


def test_a_broken_index_line_loses_only_itself(root, dtd) -> None:
    for line, reason in [
        ("train.zip@1.jpg", "image has no label"),
        ("train.zip@1.jpg 3", "label is not in the label map"),
        ("train.zip@1.jpg -1", "label is not in the label map"),
        ("train.zip@1.jpg banded", "labels are not numbers"),
        ("train.zip@../../../1.jpg 0", "image path leaves the data root"),
        ("../x.zip@1.jpg 0", "image path leaves the data root"),
        ("@1.jpg 0", "image path leaves the data root"),
    ]:
        with root.case(line, reason):
            dtd(line, "train.zip@2.jpg 0")
            (sample,), (reject,) = root.read("elevater_dtd", "elevater", "train")
            assert sample.id == "elevater_dtd/train/train.zip@2.jpg"
            assert (reject.file, reject.row, reject.reason) == (f"{BASE}/train.txt", "1", reason)


def test_a_broken_knowledge_entry_loses_only_itself(root, dtd) -> None:
    dtd("train.zip@1.jpg 2", external=["text", {"def_wiki": "x"}, known("knitted", "Made by knitting.")])
    (sample,), rejects = root.read("elevater_dtd", "elevater", "train")
    assert sample.response.endswith("knitted: Made by knitting.")
    assert [(r.file, r.row, r.reason) for r in rejects] == [
        ("elevater/knowledge/external/dtd_knowledge.tsv", "0", "row is not an object"),
        ("elevater/knowledge/external/dtd_knowledge.tsv", "1", "row lacks 'classname'"),
    ]


def test_a_split_with_a_number_draws_so_many_images_of_each_class(root, dtd) -> None:
    dtd(*(f"train.zip@{n}.jpg {n % 3}" for n in range(30)), "broken", "train.zip@last.jpg 0,1")
    samples, (reject,) = root.read("elevater_dtd", "elevater", "train4")
    counts = [sum(name in s.extras["labels"] for s in samples) for name in ("banded", "polka-dotted", "knitted")]
    assert counts[2] == 4 and all(count >= 4 for count in counts)
    assert reject.reason == "image has no label"
    numbers = [s.images[0].path for s in samples]
    assert numbers == sorted(numbers, key=lambda path: int(path.split("/")[-1].replace("last", "99")[:-4]))
    again, _ = root.read("elevater_dtd", "elevater", "train4")
    assert [s.id for s in again] == [s.id for s in samples]
    assert samples[0].id.startswith("elevater_dtd/train4/")
    everything, _ = root.read("elevater_dtd", "elevater", "train99")
    assert len(everything) == 31


def test_the_coco_form_joins_labels_whose_ids_start_anywhere(root, dtd) -> None:
    dtd(format="coco", train={"index_path": "train.json"}, external=[known("knitted", "Made by knitting.")])
    root.json(
        f"{BASE}/train.json",
        {
            "images": [
                {"id": 1, "file_name": "images.zip@b.jpg"},
                {"id": 2, "file_name": "a.jpg", "zip_file": "images.zip"},
                {"id": 3, "file_name": "c.jpg"},
            ],
            "annotations": [
                {"id": 1, "category_id": 9, "image_id": 1},
                {"id": 2, "category_id": 4, "image_id": 2},
                {"id": 3, "category_id": 7, "image_id": 2},
            ],
            "categories": [{"id": 9, "name": "knitted"}, {"id": 4, "name": "banded"}],
        },
    )
    (first, second), (annotation, image) = root.read("elevater_dtd", "elevater", "train")
    assert first.response == "a photo of a knitted texture.\nknitted: Made by knitting."
    assert first.images[0].path == f"{BASE}/images/b.jpg"
    assert (second.images[0].path, second.extras["labels"]) == (f"{BASE}/images/a.jpg", ["banded"])
    assert (annotation.file, annotation.row) == (f"{BASE}/train.json#annotations", "2")
    assert annotation.reason == "label of an unknown category"
    assert image.reason == "image has no label"


def test_knowledge_of_differing_names_goes_by_place_where_the_rest_agrees() -> None:
    facts = [Fact("annual crop land"), Fact("forest"), Fact("river")]
    assert align(["AnnualCrop", "Forest", "River"], facts) == facts
    assert align(["0", "1", "2"], facts) == facts
    assert align(["AnnualCrop", "Forest", "Sea"], facts) == [None, facts[1], None]


def test_knowledge_in_another_order_than_the_labels_goes_by_name_alone() -> None:
    facts = [Fact("angry"), Fact("neutral"), Fact("sad"), Fact("surprised")]
    assert align(["Angry", "Sad", "Surprise", "Neutral"], facts) == [facts[0], facts[2], None, facts[1]]


def test_a_description_that_cannot_be_followed_is_named(root, dtd) -> None:
    for entry, split, reason in [
        ({}, "training", "no such split"),
        ({}, "val", "no such split"),
        ({"name": "other"}, "train", "dataset is not described"),
        ({"root_folder": "../.."}, "train", "image path leaves the data root"),
        ({"train": {"index_path": "../../../secret.txt"}}, "train", "image path leaves the data root"),
        ({"train": {"index_path": "nowhere.txt"}}, "train", "index file does not exist"),
        ({"labelmap": "x" * 400}, "train", "image path is none that a file can have"),
    ]:
        with root.case(entry, split, reason):
            dtd("train.zip@1.jpg 0", **entry)
            with pytest.raises(DataError, match=reason):
                root.read("elevater_dtd", "elevater", split)


def test_an_index_that_links_out_of_the_root_is_refused(root, dtd) -> None:
    dtd()
    (root.path / f"{BASE}/train.txt").unlink()
    (root.path / f"{BASE}/train.txt").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="leaves the data root"):
        root.read("elevater_dtd", "elevater", "train")
