FILE = "image2paragraph/paragraphs_v1.json"
BASE = "https://cs.stanford.edu/people/rak248/"


def row(
    image_id: int, paragraph: str = "A dog. It runs.", part: str = "VG_100K", **values: object
) -> dict[str, object]:
    return {"url": f"{BASE}{part}/{image_id}.jpg", "image_id": image_id, "paragraph": paragraph, **values}


def test_a_split_is_the_paragraphs_of_its_images(root) -> None:
    root.json(FILE, [row(1), row(2, "A cat.  \n It sleeps ."), row(3)])
    root.json("image2paragraph/val_split.json", [2])
    (sample,), rejects = root.read("image2paragraph", "image2paragraph", "val")
    assert rejects == []
    assert (sample.id, sample.response) == ("image2paragraph/val/2", "A cat. It sleeps .")
    assert sample.extras["captions"] == ["A cat. It sleeps ."]


def test_all_needs_no_list(root) -> None:
    root.json(FILE, [row(1), row(2)])
    samples, _ = root.read("image2paragraph", "image2paragraph", "all")
    assert [s.id for s in samples] == ["image2paragraph/all/1", "image2paragraph/all/2"]


def test_the_image_is_named_by_the_end_of_its_address(root) -> None:
    root.json(FILE, [row(1), row(2, part="VG_100K_2")])
    samples, _ = root.read("image2paragraph", "image2paragraph", "all")
    assert [s.images[0].path.split("/", 1)[1] for s in samples] == ["VG_100K/1.jpg", "VG_100K_2/2.jpg"]


def test_the_image_is_found_in_either_part_and_in_the_shared_folder(root) -> None:
    for place in ["image2paragraph/VG_100K", "visual_genome/VG_100K", "visual_genome/VG_100K_2"]:
        with root.case(place):
            root.image(f"{place}/2.jpg")
            root.json(FILE, [row(2, part="VG_100K_2")])
            (sample,), _ = root.read("image2paragraph", "image2paragraph", "all")
            assert sample.images[0].path == f"{place}/2.jpg"


def test_a_second_paragraph_of_an_image_is_rejected(root) -> None:
    root.json(FILE, [row(1), row(1, "Again.")])
    (sample,), (reject,) = root.read("image2paragraph", "image2paragraph", "all")
    assert sample.response == "A dog. It runs."
    assert (reject.row, reject.reason) == ("1", "image has a paragraph already")


def test_an_image_of_the_split_without_paragraph_is_rejected(root) -> None:
    root.json(FILE, [row(1)])
    root.json("image2paragraph/train_split.json", [1, 9, "x"])
    (sample,), rejects = root.read("image2paragraph", "image2paragraph", "train")
    assert sample.id == "image2paragraph/train/1"
    assert [(r.row, r.reason) for r in rejects] == [
        ("2", "image id is not a number"),
        ("9", "image of the split has no paragraph"),
    ]


def test_a_broken_row_loses_only_itself(root) -> None:
    for broken, reason in [
        (row(2, " "), "row has an empty 'paragraph'"),
        (row(2, url=None), "row lacks 'url'"),
        (row(2, url="https://host/elsewhere/2.jpg"), "address does not end in VG_100K/… or VG_100K_2/…"),
        (row(2, url="https://host/VG_100K/.."), "image path leaves the data root"),
        ({**row(2), "image_id": "2"}, "'image_id' is not of type int"),
        (5, "row is not an object"),
    ]:
        with root.case(broken, reason):
            root.json(FILE, [broken, row(1)])
            (sample,), (reject,) = root.read("image2paragraph", "image2paragraph", "all")
            assert sample.id == "image2paragraph/all/1"
            assert (reject.file, reject.row, reject.reason) == (FILE, "0", reason)
