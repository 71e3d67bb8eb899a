import json
from pathlib import Path

import pytest

from polite_flamingo.cli import main
from polite_flamingo.doctor.checkup import check_up, render
from polite_flamingo.doctor.examine import ImageFacts
from polite_flamingo.doctor.findings import copies, overlaps
from polite_flamingo.errors import BusyError, ConfigError, DataError
from polite_flamingo.io.locks import locked
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Image, Sample, Task, Turn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def check(data, tmp_path, **options):
    return check_up(data, out=tmp_path / "out", **options)


def found(report, kind):
    return [row["path"] for row in report["findings"] if row["kind"] == kind]


def look(path, phash=None, sha=None):
    return ImageFacts(path, sha256=sha or path, phash=None if phash is None else f"{phash:016x}", width=99, height=99)


def sample(number, *images):
    turns = (Turn("human", "?", tuple(range(len(images)))), Turn("assistant", "!"))
    return Sample(f"s/all/{number}", "s", "all", "none", Task.CAPTION, turns, tuple(map(Image, images)))


def test_a_root_without_an_image_is_no_sound_one(data, tmp_path):
    with pytest.raises(DataError, match="no image lies here"):
        check(data, tmp_path)


def test_a_sound_root_has_nothing_in_quarantine(data, tmp_path, save, picture):
    save("coco/a.png", picture(1))
    report = check(data, tmp_path)
    assert (report["images"], report["bad"], report["counts"]) == (1, 0, {})
    assert (tmp_path / "out" / "quarantine.jsonl").read_text() == ""


def test_bad_images_go_to_quarantine_and_odd_ones_do_not(data, tmp_path, save, picture):
    save("coco/broken.jpg", b"x")
    save("coco/odd.jpg", picture(1).convert("CMYK"))
    report = check(data, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["source"], row["file"], row["reason"]) for row in rows] == [
        ("doctor", "coco/broken.jpg", "not_an_image")
    ]
    assert report["counts"] == {"not_an_image": 1, "cmyk": 1}
    assert report["folders"] == [{"folder": "coco", "images": 2, "findings": 2, "bad": 1}]


def test_no_image_is_moved_or_changed(data, tmp_path, save):
    file = save("a.jpg", b"x")
    check(data, tmp_path)
    assert file.read_bytes() == b"x"
    assert list(data.iterdir()) == [file]


def test_identical_files_are_duplicates_of_the_first(data, tmp_path, save, picture):
    for name in ("b.png", "a.png", "c.png"):
        save(name, picture(1))
    report = check(data, tmp_path)
    assert report["copies"] == [{"kind": "duplicate", "paths": ["a.png", "b.png", "c.png"], "distance": 0}]
    assert found(report, "duplicate") == ["b.png", "c.png"]
    assert report["bad"] == 0


def test_a_compressed_copy_is_a_near_duplicate(data, tmp_path, save, picture):
    save("a.png", picture(1))
    save("b.jpg", picture(1), quality=50)
    save("c.png", picture(2))
    report = check(data, tmp_path)
    assert found(report, "near_duplicate") == ["b.jpg"]
    assert report["copies"][0]["paths"] == ["a.png", "b.jpg"]


def test_near_groups_are_what_small_steps_connect():
    groups = copies([look("a", 0b0), look("b", 0b1111), look("c", 0b11111111), look("d", 2**64 - 1), look("e")])
    assert [(g.kind, g.paths, g.distance) for g in groups] == [("near_duplicate", ("a", "b", "c"), 4)]


def test_even_pictures_are_no_near_duplicates(data, tmp_path, save):
    from PIL import Image as PILImage

    save("a.png", PILImage.new("RGB", (40, 40), "white"))
    save("b.png", PILImage.new("RGB", (50, 50), "black"))
    assert not check(data, tmp_path)["copies"]


def test_training_images_that_are_evaluation_images_are_bad(data, tmp_path, save, picture):
    save("train/same.png", picture(1))
    save("train/near.jpg", picture(2), quality=50)
    save("train/other.png", picture(3))
    save("pope/one.png", picture(1))
    save("pope/two.png", picture(2))
    report = check(data, tmp_path, evaluation=["pope"])
    assert found(report, "overlap") == ["train/same.png"]
    assert found(report, "near_overlap") == ["train/near.jpg"]
    assert report["evaluation_images"] == 2
    assert report["bad"] == 2
    assert not report["copies"]


def test_evaluation_images_may_lie_elsewhere(data, tmp_path, save, picture):
    save("a.png", picture(1))
    elsewhere = tmp_path / "evaluation"
    elsewhere.mkdir()
    picture(1).save(elsewhere / "b.png")
    report = check(data, tmp_path, evaluation=[str(elsewhere)])
    assert report["findings"] == [{"kind": "overlap", "path": "a.png", "detail": str(elsewhere / "b.png")}]


def test_an_overlap_names_the_nearest_evaluation_image():
    training = [look("t", 0b0)]
    evaluation = [look("far", 0b111), look("near", 0b1), look("elsewhere", 2**63)]
    assert [f.detail for f in overlaps(training, evaluation)] == ["elsewhere (1 of 64 bits differ)"]
    assert [f.detail for f in overlaps(training, evaluation[:2])] == ["near (1 of 64 bits differ)"]


def test_an_image_a_sample_names_and_nobody_has_is_missing(data, tmp_path, save, picture):
    save("coco/a.png", picture(1))
    save("odd/no_ending", picture(2), format="PNG")
    samples = [sample(1, "coco/a.png"), sample(2, "coco/gone.png", "odd/no_ending"), sample(3, "coco/gone.png")]
    write_shards(tmp_path / "read" / "samples", [s.to_row() for s in samples])
    report = check(data, tmp_path, samples=tmp_path / "read")
    assert report["images"] == 2
    assert report["findings"] == [{"kind": "missing", "path": "coco/gone.png", "sample": "s/all/2"}]


def test_a_broken_image_names_its_sample(data, tmp_path, save):
    save("a.png", b"x")
    write_shards(tmp_path / "samples", [sample(1, "a.png").to_row()])
    check(data, tmp_path, samples=tmp_path / "samples")
    assert json.loads((tmp_path / "out" / "quarantine.jsonl").read_text())["row"] == "s/all/1"


def test_a_folder_without_shards_is_no_folder_of_samples(data, tmp_path):
    with pytest.raises(DataError, match="no sample shards"):
        check(data, tmp_path, samples=tmp_path)


def test_shards_of_something_else_are_no_samples(data, tmp_path):
    write_shards(tmp_path / "samples", [{"id": "1", "images": "not json"}])
    with pytest.raises(DataError, match="hold no samples"):
        check(data, tmp_path, samples=tmp_path / "samples")


@pytest.mark.parametrize("options", [{"evaluation": ["none"]}, {"workers": 0}])
def test_unusable_options_are_refused(data, tmp_path, options):
    with pytest.raises(ConfigError):
        check(data, tmp_path, **options)


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        check(tmp_path / "none", tmp_path)


def test_two_doctors_do_not_share_a_report(data, tmp_path):
    with locked(tmp_path / "out" / "lock"), pytest.raises(BusyError):
        check(data, tmp_path)


def test_the_table_names_kinds_counts_and_first_files(data, tmp_path, save):
    for number in range(5):
        save(f"coco/{number}.jpg", b"x" * number)
    table = render(check(data, tmp_path))
    assert "not_an_image" in table
    assert "coco/1.jpg, coco/2.jpg, coco/3.jpg" in table
    assert "coco/4.jpg" not in table
    assert "5 images in quarantine" in table


def test_the_command_prints_the_report_as_json(data, tmp_path, save, picture, capsys):
    save("a.png", picture(1, (8, 8)))
    arguments = ["doctor", str(data), "--out", str(tmp_path / "out"), "--workers", "1", "--json", "--min-side", "9"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"] == {"tiny": 1}
    assert printed == json.loads((tmp_path / "out" / "report.json").read_text())
