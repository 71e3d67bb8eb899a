"""Every format: written, read back equal, opened by those it is meant for; what it cannot hold is named."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.export.exporting import Project, kept, several, write_kept

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.export.archives import TarWriter
from polite_flamingo.export.formats import FORMATS, sharegpt_record
from polite_flamingo.export.messages import MessagesWriter
from polite_flamingo.markdown import escaped
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources import load_source
from polite_flamingo.sources.forms.conversations import DJ_IMAGE, hear, read_dj, say, write_dj

WHOLE = [name for name in FORMATS if name != "pf1m"]  # formats that hold all of a record


def read_back(project: Project, name: str) -> list[Sample]:
    items = list(load_source(FORMATS[name].reader).read(project.root, "exported", "all", seed=1))
    assert not [item for item in items if isinstance(item, Reject)]
    return [item for item in items if isinstance(item, Sample)]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_exported_is_read_back_equal(name: str, tmp_path: Path) -> None:
    records = several()
    project = Project(tmp_path, records)
    project.export(name)
    assert read_back(project, name) == [record.sample for record in records]
    assert not (project.root / "derived").exists()  # the images are there already


def test_pf1m_is_read_back_as_far_as_it_holds(tmp_path: Path) -> None:
    records = several()
    project = Project(tmp_path, records)
    project.export("pf1m")
    again = read_back(project, "pf1m")
    assert [(s.turns, s.images) for s in again] == [(r.sample.turns, r.sample.images) for r in records]
    assert [s.task for s in again] == [Task.CAPTION, Task.DIALOGUE, Task.DIALOGUE, Task.TEXT]
    assert again[0].extras == {
        "raw_answer": "a skier\n",
        "scores": {"rouge_l": 0.2833, "sts": 0.4137, "clip_logits": [23.2587, 20.0], "reward": 5.25},
        "cut": [[16.0191, "Also, „zwei“ people."]],
    }


@pytest.mark.parametrize("name", ["messages", "webdataset"])
def test_embedded_images_need_no_files(name: str, tmp_path: Path) -> None:
    records = several()
    project = Project(tmp_path, records)
    project.export(name)
    before = (project.root / "coco" / "a.png").read_bytes()
    for folder in ("coco", "pairs"):
        (project.root / folder).rename(tmp_path / folder)
    first, *_ = read_back(project, name)
    assert first.images[0].path.startswith("derived/")
    assert (project.root / first.images[0].path).read_bytes() == before
    assert replace(first, images=records[0].sample.images) == records[0].sample


def test_the_hugging_face_library_opens_messages_with_decoded_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    project = Project(tmp_path, several())
    out = project.export("messages")
    files = str(out / "data" / "*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    change = rows[2]
    assert [image.getpixel((0, 0)) for image in change["images"]] == [(2, 20, 40), (3, 20, 40)]
    assert [part["type"] for part in change["messages"][0]["content"]] == ["image", "image", "text"]
    assert change["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "A skier jumps.", "index": None}],
    }
    assert rows[3]["images"] == []


@pytest.mark.parametrize("name", FORMATS)
def test_the_hugging_face_library_opens_the_folder_of_every_export(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    out = Project(tmp_path, several()).export(name, with_images=True)
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == 4
    assert FORMATS[name].embeds or (out / "images" / "pairs" / "1_2.png").is_file()


def test_llava_names_one_image_by_its_path_and_several_in_a_list(tmp_path: Path) -> None:
    out = Project(tmp_path, several()).export("llava")
    caption, _, change, text = json.loads((out / "llava.json").read_text(encoding="utf-8"))
    assert caption["image"] == "coco/a.png"
    assert caption["conversations"][0] == {"from": "human", "value": "<image>\nDescribe it."}
    assert change["image"] == ["pairs/1.png", "pairs/1_2.png"]
    assert "image" not in text


def test_sharegpt_has_as_many_markers_as_images_and_describes_itself(tmp_path: Path) -> None:
    out = Project(tmp_path, several()).export("sharegpt")
    for record in json.loads((out / "sharegpt.json").read_text(encoding="utf-8")):
        assert sum(t["value"].count("<image>") for t in record["conversations"]) == len(record["images"])
    described = json.loads((out / "dataset_info.json").read_text())["pf1m"]
    assert described["file_name"] == "sharegpt.json"
    assert described["columns"] == {"messages": "conversations", "images": "images"}


def test_swift_has_text_with_markers_and_axolotl_parts_with_paths(tmp_path: Path) -> None:
    project = Project(tmp_path, several())
    swift, axolotl = (
        json.loads((project.export(name, folder=name) / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[2])
        for name in ("swift", "axolotl")
    )
    answer = {"role": "assistant", "content": "A skier jumps."}
    asked = {"role": "user", "content": "<image>\n<image>\nDescribe it."}
    assert (swift["messages"], swift["images"]) == ([asked, answer], ["pairs/1.png", "pairs/1_2.png"])
    assert axolotl["messages"][0]["content"] == [
        {"type": "image", "path": "pairs/1.png"},
        {"type": "image", "path": "pairs/1_2.png"},
        {"type": "text", "text": "Describe it."},
    ]
    assert not [key for key in axolotl if "image" in key]  # axolotl would append them a second time
    (entry,) = yaml.safe_load((project.path / "axolotl" / "axolotl.yaml").read_text())["datasets"]
    assert (entry["path"], entry["type"], entry["field_messages"]) == ("axolotl.jsonl", "chat_template", "messages")


@pytest.mark.parametrize("name", ["llava", "pf1m", "axolotl"])
def test_an_export_with_images_is_read_back_without_the_data_root(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path, several())
    project.export(name, with_images=True)
    before = (project.root / "coco" / "a.png").read_bytes()
    (project.root / "coco").rename(tmp_path / "coco")
    first, *_ = read_back(project, name)
    assert first.images[0].path == "exported/images/coco/a.png"
    assert (project.root / first.images[0].path).read_bytes() == before


def test_datajuicer_marks_images_speakers_and_the_end(tmp_path: Path) -> None:
    out = Project(tmp_path, several()).export("datajuicer")
    lines = (out / "datajuicer.jsonl").read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[2])["text"] == (
        f"[[human]]: {DJ_IMAGE}\n{DJ_IMAGE}\nDescribe it.\n[[gpt]]: A skier jumps. <|__dj__eoc|>"
    )


def test_tar_members_of_a_record_stand_together_and_are_the_same_every_time(tmp_path: Path) -> None:
    project = Project(tmp_path, several())
    out = project.export("webdataset")
    with tarfile.open(out / "pf1m-000000.tar") as archive:
        names = archive.getnames()
    assert names[:6] == [f"000000000.{e}" for e in ("json", "txt", "png")] + [
        f"000000001.{e}" for e in ("json", "txt", "jpg")
    ]
    assert names[6:10] == [f"000000002.{e}" for e in ("json", "txt", "0.png", "1.png")]
    before = (out / "pf1m-000000.tar").read_bytes()
    assert (project.export("webdataset") / "pf1m-000000.tar").read_bytes() == before


def test_a_new_tar_file_begins_when_one_is_full(tmp_path: Path) -> None:
    records = several()
    project = Project(tmp_path, records)
    with TarWriter(project.root / "exported", project.root, shard_records=3) as writer:
        for record in records:
            writer.append(sharegpt_record(record), record.sample)
    assert len(list((project.root / "exported").glob("*.tar"))) == 2
    assert read_back(project, "webdataset") == [record.sample for record in records]


def test_a_new_parquet_file_begins_when_one_is_full(tmp_path: Path) -> None:
    records = several()
    project = Project(tmp_path, records)
    with MessagesWriter(project.root / "exported", project.root, group_bytes=1, file_bytes=1) as writer:
        for record in records:
            writer.append(record.sample)
    assert len(list((project.root / "exported" / "data").glob("*.parquet"))) == 4
    assert read_back(project, "messages") == [record.sample for record in records]


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("pf1m", {"instruction": "What is <img_path>?"}, "text or path holds the image marker <img_path>"),
        ("llava", {"rewritten": "The tag <image> shows one."}, "text holds the image marker <image>"),
        ("sharegpt", {"instruction": "What is <image>?"}, "text holds the image marker <image>"),
        ("sharegpt", {"rewritten": "Its tag is <video>."}, "text holds the marker <video>"),
        ("swift", {"instruction": "Where is <bbox>?"}, "text holds the marker <bbox>"),
        ("datajuicer", {"rewritten": "So:\n[[human]]: hello"}, "text holds a marker of Data-Juicer"),
        ("datajuicer", {"rewritten": "So <|__dj__eoc|>"}, "text holds a marker of Data-Juicer"),
        ("messages", {"images": ["coco/absent.png"]}, "image is missing"),
        ("webdataset", {"images": ["coco/absent.png"]}, "image is missing"),
        ("webdataset", {"images": ["coco/absent.svg"]}, "image has an unknown extension"),
    ],
)
def test_what_a_format_cannot_hold_is_left_out_by_name(
    name: str, values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = kept(1, Task.VQA)
    project = Project(tmp_path, [good])
    project = _with(project, [kept(7, Task.VQA, **values), good])
    out = project.export(name)
    assert project.summary["records"] == 1
    assert project.summary["left_out"] == {reason: 1}
    (line,) = (out / "left_out.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "coco/train/7"
    assert f"| {escaped(reason)} | 1 |" in (out / "README.md").read_text()


def _with(project: Project, records: list[Any]) -> Project:
    """The same data root, with other records."""
    write_kept(project.path, records)
    return project


def test_a_form_with_markers_refuses_images_out_of_order() -> None:
    sample = replace(
        kept(1, Task.CHANGE, ["a.png", "b.png"]).sample,
        turns=(Turn("human", "Hm?", (1, 0)), Turn("assistant", "Yes.")),
    )
    with pytest.raises(DataError, match="once each and in order"):
        say(sample)


PIECES = st.lists(
    st.sampled_from(["a", "\n", " ", "[[human]]: ", "[[gpt]]: ", "ö", "<image", "[[human]]:", "\r", "."])
    | st.text(max_size=3)
).map(lambda parts: "".join(parts).replace("<image>", ""))


@given(st.lists(st.tuples(PIECES, PIECES.filter(str.strip)), min_size=1, max_size=3), st.integers(0, 3))
def test_any_dialogue_comes_back_or_is_refused(pairs: list[tuple[str, str]], images: int) -> None:
    turns = []
    for index, (question, answer) in enumerate(pairs):
        turns += [Turn("human", question, tuple(range(images)) if index == 0 else ()), Turn("assistant", answer)]
    pictures = tuple(Image(f"{index}.png") for index in range(images))
    sample = Sample("a/b/c", "a", "b", "-", Task.DIALOGUE, tuple(turns), pictures)
    assert hear(say(sample), images) == sample.turns
    try:
        text = write_dj(sample)
    except DataError:
        return
    assert hear(read_dj(text), images, DJ_IMAGE) == sample.turns


def test_permissive_only_leaves_other_licences_out_and_says_so(tmp_path: Path) -> None:
    own = {"source": "table", "licence": "mine"}
    records = [
        *several(),
        kept(5, Task.VQA, extras={"permissive": True}, **own),
        kept(6, Task.VQA, extras={"permissive": False}, **own),
        kept(7, Task.VQA, **own),
    ]
    project = Project(tmp_path, records)
    out = project.export("llava", permissive_only=True)
    sources = [(r["source"], r["id"]) for r in json.loads((out / "llava.json").read_text(encoding="utf-8"))]
    assert sources == [
        ("coco", "coco/train/1"),
        ("vqav2", "vqav2/val/a.b/2"),
        ("coco", "coco/train/4"),
        ("table", "coco/train/5"),
    ]
    assert project.summary["restricted"] == {"mine": 2, "none stated": 1}
    card = (out / "README.md").read_text()
    assert "| mine | 2 |" in card
    assert "| none stated | 1 |" in card


def test_the_card_counts_by_source_and_split_and_tells_filters_and_thresholds(tmp_path: Path) -> None:
    card = (Project(tmp_path, several()).export("messages") / "README.md").read_text()
    assert "| vqav2 | val | vqa | 1 | CC BY 4.0 | yes |" in card
    assert "| spot_the_diff | train | change | 1 | none stated | unknown |" in card
    assert "| length | 9 | 3 | 2 |" in card
    assert "| length.min_words | 3 |" in card
    assert "| filter.paragraphs.min_clip_logit | 17.0 | 2.0 |" in card
    assert "| profile | tiny |" in card
    assert "It holds everything a kept record has." in card


@pytest.mark.parametrize("name", FORMATS)
def test_every_card_says_what_the_format_cannot_hold(name: str, tmp_path: Path) -> None:
    card = (Project(tmp_path, []).export(name) / "README.md").read_text()
    assert all(f"- {loss}." in card for loss in FORMATS[name].loses)
    assert f"`{FORMATS[name].reader}`" in card


def test_an_export_replaces_an_export_and_nothing_else(tmp_path: Path) -> None:
    project = Project(tmp_path, several())
    out = project.export("llava")
    project.export("pf1m")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "export.json", "pf1m.json"]
    (out / "export.json").unlink()
    with pytest.raises(ConfigError, match="something other than an export"):
        project.export("llava")
    assert (out / "pf1m.json").is_file()


def test_a_failed_export_leaves_the_earlier_one(tmp_path: Path) -> None:
    project = Project(tmp_path, several())
    out = project.export("llava")
    before = (out / "llava.json").read_bytes()
    (project.path / "kept" / "part-000000.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError):
        project.export("llava")
    assert (out / "llava.json").read_bytes() == before


def test_an_unknown_format_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'llava'"):
        Project(tmp_path, []).export("lava")
