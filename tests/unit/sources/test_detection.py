import struct

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import CAPTION
from polite_flamingo.records import Task
from polite_flamingo.sources.forms.detection import normalise, object_count


def voc(*objects: tuple[str, int, int, int, int], width: object = 100, height: object = 50) -> str:
    items = "".join(
        f"<object><name>{name}</name><pose>overlook</pose><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>a.jpg</filename>{size}{items}</annotation>"


SHIP = ("ship", 10, 10, 40, 30)


@pytest.fixture
def dior(root):
    """Writes DIOR with the given annotations, all listed in train."""

    def write(**annotations: str) -> None:
        root.text("dior/ImageSets/Main/train.txt", "".join(f"{name[1:]}\r\n" for name in annotations))
        for name, xml in annotations.items():
            root.text(f"dior/Annotations/Horizontal Bounding Boxes/{name[1:]}.xml", xml)

    return write


@pytest.fixture
def dota(root):
    """Writes label files of DOTA train and, for each, a PNG of 100 x 50 pixels."""

    def write(place: str = "train/labelTxt-v1.0", **labels: str) -> None:
        for name, text in labels.items():
            root.text(f"dota/{place}/{name}.txt", text)
            root.image(f"dota/train/images/{name}.png", (100, 50))

    return write


def test_counts_come_most_frequent_first() -> None:
    assert object_count([["ship"], ["harbor"], ["harbor"]]) == "Object Count: {'harbor': 2, 'ship': 1}"


def test_boxes_end_at_the_edge_and_those_without_area_are_left_out() -> None:
    objects = [("a", (-5, 0, 50, 80)), ("b", (5, 5, 5, 9)), ("c", (9, 9, 5, 5)), ("d", (120, 0, 130, 9))]
    assert normalise(objects, 100, 50) == [["a", 0.0, 0.0, 0.5, 1.0]]


def test_dior_turns_horizontal_boxes_into_counts(root, dior) -> None:
    dior(_00001=voc(SHIP, ("golffield", 0, 0, 100, 50)))
    root.text("dior/Annotations/Oriented Bounding Boxes/00001.xml", "<annotation/>")
    (sample,), rejects = root.read("dior", "dior", "train")
    assert rejects == []
    assert (sample.id, sample.task) == ("dior/train/00001", Task.CAPTION)
    assert sample.images[0].path == "dior/JPEGImages-trainval/00001.jpg"
    assert sample.instruction in CAPTION
    assert sample.turns[0].images == (0,)
    assert sample.response == "Object Count: {'ship': 1, 'golf field': 1}"
    assert sample.extras["boxes"][0] == ["ship", 0.1, 0.2, 0.4, 0.6]
    assert sample.extras["captions"] == ["Object Count: {'ship': 1, 'golf field': 1}"]


def test_dior_looks_for_the_images_of_each_split_in_its_folder(root) -> None:
    for split, place in [("train", "JPEGImages-trainval"), ("val", "JPEGImages-trainval"), ("test", "JPEGImages-test")]:
        with root.case(split, place):
            root.text(f"dior/ImageSets/Main/{split}.txt", "00001\n")
            root.text("dior/Annotations/Horizontal Bounding Boxes/00001.xml", voc(SHIP))
            (sample,), _ = root.read("dior", "dior", split)
            assert sample.images[0].path == f"dior/{place}/00001.jpg"


def test_trainval_without_a_list_of_its_own_is_train_and_val(root) -> None:
    root.text("dior/Main/train.txt", "00001\n")
    root.text("dior/Main/val.txt", "船_2\n00001\n")
    for name in ("00001", "船_2"):
        root.text(f"dior/Annotations/{name}.xml", voc(SHIP))
    root.image("dior/JPEGImages/船_2.jpg")
    samples, (reject,) = root.read("dior", "dior", "trainval")
    assert [s.id for s in samples] == ["dior/trainval/00001", "dior/trainval/船_2"]
    assert samples[1].images[0].path == "dior/JPEGImages/船_2.jpg"
    assert (reject.file, reject.row, reject.reason) == ("dior/Main/val.txt", "2", "image is listed twice")


def test_a_broken_voc_file_loses_only_its_image(root, dior) -> None:
    for xml, reason in [
        (voc(), "image has no objects"),
        (voc(("ship", 5, 5, 5, 9)), "image has no objects"),
        (voc(SHIP, width=0), "image size is not positive"),
        (voc(SHIP, width=""), "annotation lacks 'size/width'"),
        (voc(("", 1, 1, 2, 2)), "object has no name"),
        (voc(SHIP).replace("<xmin>10</xmin>", ""), "annotation lacks 'bndbox/xmin'"),
        (voc(SHIP).replace(">10<", ">ten<"), "'bndbox/xmin' is not a number"),
        (voc(SHIP).replace(">10<", ">nan<"), "'bndbox/xmin' is not a number"),
        (voc(SHIP)[:-20], "annotation is not valid XML"),
        ("", "annotation is not valid XML"),
        ('<?xml version="1.0" encoding="nowhere"?><a/>', "annotation is not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "annotation defines XML entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "annotation defines XML entities"),
    ]:
        with root.case(xml, reason):
            dior(_00001=xml, _00002=voc(SHIP))
            (sample,), (reject,) = root.read("dior", "dior", "train")
            assert sample.id == "dior/train/00002"
            assert (reject.row, reject.reason) == ("00001", reason)
            assert reject.file == "dior/Annotations/Horizontal Bounding Boxes/00001.xml"


def test_a_list_that_names_no_annotation_loses_only_that_line(root, dior) -> None:
    dior(_00001=voc(SHIP))
    root.text("outside.xml", voc(SHIP))
    (root.path / "dior/Annotations/Horizontal Bounding Boxes/00003.xml").symlink_to("/etc/hostname")
    root.text("dior/ImageSets/Main/train.txt", "../../../outside\n00002\n\n00003\n00001\n")
    (sample,), rejects = root.read("dior", "dior", "train")
    assert sample.id == "dior/train/00001"
    assert [r.reason for r in rejects] == [
        "line is not an image id",
        "annotation file is missing",
        "image path leaves the data root",
    ]


def test_a_split_a_list_or_an_annotation_folder_that_is_not_there_is_named(root) -> None:
    root.text("dior/Main/train.txt", "00001\n")
    with pytest.raises(DataError, match="no such split"):
        root.read("dior", "dior", "../train")
    with pytest.raises(DataError, match="no annotation file found"):
        root.read("dior", "dior", "test")
    with pytest.raises(DataError, match="annotation folder does not exist"):
        root.read("dior", "dior", "train")


def test_hrrsd_reads_the_folders_of_its_repository_and_either_spelling_of_a_class(root) -> None:
    root.text("hrrsd/OPT2017/ImageSets/Main/trainval.txt", "00003\n")
    root.text("hrrsd/OPT2017/ImageSets/Main/T junction_trainval.txt", "00003 1\n")
    root.text("hrrsd/OPT2017/Annotations/00003.xml", voc(("T junction", 0, 0, 50, 50), ("storage_tank", 0, 0, 9, 9)))
    (sample,), rejects = root.read("hrrsd", "hrrsd", "trainval")
    assert rejects == []
    assert sample.images[0].path == "hrrsd/OPT2017/JPEGImages/00003.jpg"
    assert [box[0] for box in sample.extras["boxes"]] == ["T junction", "storage tank"]


def test_dota_puts_upright_boxes_around_oriented_ones(root, dota) -> None:
    dota(P0001="imagesource:GoogleEarth\ngsd:0.146\n20 10 40 20 30 40 10 30 large-vehicle 1\n")
    (sample,), rejects = root.read("dota", "dota", "train")
    assert rejects == []
    assert (sample.id, sample.images[0].path) == ("dota/train/P0001", "dota/train/images/P0001.png")
    assert sample.extras["boxes"] == [["large vehicle", 0.1, 0.2, 0.4, 0.8]]
    assert sample.response == "Object Count: {'large vehicle': 1}"


def test_dota_metadata_lines_are_optional(root, dota) -> None:
    for head in ["", "imagesource:GF-2\n", "acquisition dates:2014-01-01\nimagesource:JL-1\ngsd:null\n\n"]:
        with root.case(head):
            dota(P0001=f"{head}0 0 50 0 50 50 0 50 ship 0\n")
            (sample,), _ = root.read("dota", "dota", "train")
            assert sample.extras["boxes"] == [["ship", 0.0, 0.0, 0.5, 1.0]]


def test_dota_reads_the_size_of_an_enormous_image_from_its_header_alone(root, dota) -> None:
    dota(P0001="0 0 10000 0 10000 5000 0 5000 ship 0\n")
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 20000, 20000)
    (root.path / "dota/train/images/P0001.png").write_bytes(head)
    (sample,), _ = root.read("dota", "dota", "train")
    assert sample.extras["boxes"] == [["ship", 0.0, 0.0, 0.5, 0.25]]


def test_dota_finds_each_version_of_the_labels(root, dota) -> None:
    for split, place in [
        ("train", "train/labelTxt"),
        ("train", "train/labelTxt-v1.0/labelTxt"),
        ("train-v1.5", "train/labelTxt-v1.5/DOTA-v1.5_train"),
        ("train-v2.0", "train/labelTxt-v2.0"),
    ]:
        with root.case(split, place):
            dota(place, P0001="0 0 50 0 50 50 0 50 ship 0\n")
            dota("train/labelTxt-v1.5/DOTA-v1.5_train_hbb", P0001="0 0 1 0 1 1 0 1 plane 0\n")
            dota("train/labelTxt-v1.0/Train_Task2_gt/trainset_reclabelTxt", P0001="0 0 1 0 1 1 0 1 plane 0\n")
            (sample,), _ = root.read("dota", "dota", split)
            assert sample.id == f"dota/{split}/P0001"
            assert sample.extras["boxes"][0][0] == "ship"


def test_dota_finds_images_in_the_folders_of_its_archives(root, dota) -> None:
    dota(P0001="0 0 50 0 50 50 0 50 ship 0\n")
    (root.path / "dota/train/images/P0001.png").unlink()
    root.image("dota/train/images/part2/images/P0001.png", (100, 50))
    (sample,), _ = root.read("dota", "dota", "train")
    assert sample.images[0].path == "dota/train/images/part2/images/P0001.png"


def test_a_broken_dota_file_loses_only_its_image(root, dota) -> None:
    for text, reason in [
        ("", "image has no objects"),
        ("imagesource:GoogleEarth\n", "image has no objects"),
        ("0 0 50 0 50 50 0 ship 0\n", "coordinate in line 1 is not a number"),
        ("gsd:1\n0 0 50 0\n", "line 2 is not eight numbers, category and difficulty"),
        ("0 0 50 0 50 50 0 inf ship 0\n", "coordinate in line 1 is not a number"),
    ]:
        with root.case(text, reason):
            dota(P0001=text, P0002="0 0 50 0 50 50 0 50 ship 0\n")
            (sample,), (reject,) = root.read("dota", "dota", "train")
            assert sample.id == "dota/train/P0002"
            assert (reject.file, reject.row, reject.reason) == ("dota/train/labelTxt-v1.0/P0001.txt", "P0001", reason)


def test_a_dota_image_without_a_size_is_rejected(root, dota) -> None:
    for content, reason in [(None, "image is missing"), (b"GIF89a", "image is not a PNG")]:
        with root.case(content, reason):
            dota(P0001="0 0 50 0 50 50 0 50 ship 0\n")
            file = root.path / "dota/train/images/P0001.png"
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            _, (reject,) = root.read("dota", "dota", "train")
            assert reject.reason == f"{reason} and its size unknown"


def test_dota_labels_that_are_not_there_and_unknown_splits_are_named(root, dota) -> None:
    dota(P0001="")
    with pytest.raises(DataError, match="no such split"):
        root.read("dota", "dota", "test")
    with pytest.raises(DataError, match=r"no annotation file found[\s\S]*val/labelTxt-v1.5"):
        root.read("dota", "dota", "val-v1.5")
