"""LLaVA, ShareGPT, messages, PF-1M, WebDataset and Data-Juicer files that others have written."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.cli import main
from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import PLAIN
from polite_flamingo.records import Task, Turn
from polite_flamingo.sources.forms.conversations import unmarked
from polite_flamingo.sources.forms.pictures import FETCHED_NOWHERE

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def talk(*values: str, **more: Any) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"id": "7", "conversations": turns, **more}


def paths(sample) -> list[str]:
    return [image.path for image in sample.images]


def test_llava_takes_one_image_several_or_none(root) -> None:
    root.image("own/a.png")
    root.json(
        "own/x.json",
        [
            talk("<image>\nWhat?", "A cat.", image="a.png"),
            talk("What?\n<image>", "A cat.", image="a.png"),
            talk("<image>\nAnd\n<image>?", "Two.", "More?", "No.", image=["a.png", "b.png"]),
            talk("Hi", "Hello."),
        ],
    )
    (first, last, two, text), _ = root.read("llava_json", "own", "train")
    assert first.turns == last.turns == (Turn("human", "What?", (0,)), Turn("assistant", "A cat."))
    assert (paths(two), two.turns[0]) == (["own/a.png", "own/b.png"], Turn("human", "And\n?", (0, 1)))
    assert (text.images, text.task, first.task) == ((), Task.TEXT, Task.DIALOGUE)
    assert [s.id for s in (first, last)] == ["llava_json/train/own/x-7", "llava_json/train/own/x-7-2"]


def test_an_image_without_a_marker_is_shown_first(root) -> None:
    root.json("own/x.json", [talk("What?", "A cat.", "Sure?", "Yes.", image="a.png")])
    (sample,), _ = root.read("llava_json", "own", "train")
    assert [turn.images for turn in sample.turns] == [(0,), (), (), ()]


def test_sharegpt_shows_images_where_their_markers_are_and_keeps_the_system_message(root) -> None:
    row = {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "user", "value": "<image>What?"},
            {"from": "chatgpt", "value": "A cat."},
            {"from": "human", "value": "<image>\nAnd?"},
            {"from": "assistant", "value": "A dog."},
        ],
        "images": ["a.png", "b.png"],
    }
    root.lines("own/x.jsonl", row)
    (sample,), _ = root.read("sharegpt_json", "own", "all")
    assert [turn.images for turn in sample.turns] == [(0,), (), (1,), ()]
    assert (sample.instruction, sample.extras) == ("What?", {"system": "Be kind."})
    assert (sample.id, sample.split) == ("sharegpt_json/all/own/x-1", "all")


def test_turns_are_read_by_other_usual_keys_too(root) -> None:
    root.image("own/a.png")
    said = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}]
    finevision = {"images": ["a.png"], "texts": [{"user": "What?", "assistant": "A cat."}]}
    root.json("own/x.json", [{"image": "a.png", "conversations": said}, finevision])
    samples, rejects = root.read("sharegpt_json", "own", "all")
    assert rejects == []
    assert [(s.instruction, s.response, paths(s)) for s in samples] == [("What?", "A cat.", ["own/a.png"])] * 2


def test_a_record_that_cannot_be_used_is_rejected_and_the_rest_goes_on(root) -> None:
    for row, reason in [
        (talk("<image>\n<image>\nA?", "B.", images=["a.png"]), "2 image markers for 1 images"),
        (talk("<image>\nA?", "B."), "1 image markers for 0 images"),
        (talk("A?", "B.", "C?"), "turns must alternate human, assistant"),
        (talk(), "record has no turns"),
        (talk("A?", " "), "empty answer"),
        (talk("A?", "B.", image="/etc/passwd"), "image path leaves the data root"),
        (talk("A?", "B.", image="http://h.org/a.png"), FETCHED_NOWHERE),
        (talk("A?", "B.", image=3.5), "image is neither a path nor bytes"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "turn is of nobody known"),
        ({"conversations": [{"from": "human", "value": None}]}, "'value' is not text"),
        ({"conversations": "x"}, "'conversations' is not of type list"),
        ({"id": 1}, "row lacks 'conversations'"),
        ([1], "record is not an object"),
    ]:
        with root.case(row, reason):
            root.json("own/x.json", [row, talk("A?", "B.")])
            (sample,), (reject,) = root.read("sharegpt_json", "own", "train")
            assert sample.response == "B."
            assert (reject.source, reject.file, reject.row, reject.reason) == (
                "sharegpt_json",
                "own/x.json",
                "0",
                reason,
            )


def test_a_record_that_names_its_split_is_of_that_one(root) -> None:
    root.json("own/x.json", [talk("A?", "B.", split="val"), talk("C?", "D.")])
    train, _ = root.read("llava_json", "own", "train")
    val, _ = root.read("llava_json", "own", "val")
    everything, _ = root.read("llava_json", "own", "all")
    assert [s.response for s in train] == ["D."]
    assert [s.response for s in val] == ["B.", "D."]
    assert [s.split for s in everything] == ["val", "all"]


OURS = talk("A?", "B.", source="coco", split="val", licence="CC BY 4.0", task="vqa", details='{"a": [1]}')


def test_a_record_that_says_what_it_is_stays_that(root) -> None:
    root.json("own/x.json", [{**OURS, "id": "coco/val/7"}])
    (sample,), _ = root.read("llava_json", "own", "all")
    assert (sample.id, sample.source, sample.split, sample.licence) == ("coco/val/7", "coco", "val", "CC BY 4.0")
    assert (sample.task, sample.extras) == (Task.VQA, {"a": [1]})


def test_a_record_that_says_it_wrongly_is_rejected(root) -> None:
    for values, reason in [
        ({"task": "sing"}, "record does not say what it is"),
        ({"details": "{"}, "record does not say what it is"),
        ({"details": "[]"}, "'details' is not an object"),
    ]:
        with root.case(values, reason):
            root.json("own/x.json", [{**OURS, **values}])
            _, (reject,) = root.read("llava_json", "own", "all")
            assert reject.reason == reason


def test_files_that_describe_an_export_are_no_records(root) -> None:
    root.json("own/dataset_info.json", {})
    with pytest.raises(DataError, match="no file with records"):
        root.read("sharegpt_json", "own", "all")


def test_messages_take_text_with_markers_and_parts(root) -> None:
    image, text = {"type": "image"}, {"type": "text", "text": "What?"}
    rows = [
        [{"role": "user", "content": "<image>What?"}],
        [{"role": "user", "content": [image, text]}],
        [{"role": "user", "content": [text, {"type": "image", "index": 0}]}],
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What?"}],
    ]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}
    root.json("own/x.json", [{"messages": [*row, answer], "images": ["a.png"]} for row in rows])
    samples, rejects = root.read("messages_json", "own", "all")
    assert rejects == []
    assert {s.turns for s in samples} == {(Turn("human", "What?", (0,)), Turn("assistant", "A cat."))}
    assert [s.extras for s in samples] == [{}, {}, {}, {"system": "Be kind."}]


def test_messages_may_show_images_in_any_order_and_hold_them(root) -> None:
    parts = [{"type": "image", "index": 1}, {"type": "image", "index": 0}, {"type": "image", "image": "c.png"}]
    messages = [
        {"role": "user", "content": [*parts, {"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "assistant", "content": "C"},
    ]
    root.json("own/x.json", [{"messages": messages, "images": ["a.png", "b.png"]}])
    (sample,), _ = root.read("messages_json", "own", "all")
    assert (sample.turns[0], paths(sample)) == (
        Turn("human", "A\nB", (1, 0, 2)),
        ["own/a.png", "own/b.png", "own/c.png"],
    )


def test_messages_that_cannot_be_used_are_rejected(root) -> None:
    for content, reason in [
        (
            [{"type": "image", "index": 0}, {"type": "image", "index": 4}],
            "a turn names an image the sample does not have",
        ),
        ([{"type": "image", "index": 0}], "image is shown in no message"),
        ([{"type": "video"}], "part of a message is neither text nor image"),
        ([{"type": "text"}], "row lacks 'text'"),
        (None, "'content' is neither text nor a list"),
    ]:
        with root.case(content, reason):
            messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "A."}]
            images = ["a.png", "b.png"] if "shown" in reason else ["a.png"]
            root.json("own/x.json", [{"messages": messages, "images": images}])
            _, (reject,) = root.read("messages_json", "own", "all")
            assert reject.reason == reason


def test_messages_of_nobody_known_are_rejected(root) -> None:
    root.json("own/x.json", [{"messages": [{"role": "tool", "content": "x"}]}])
    _, (reject,) = root.read("messages_json", "own", "all")
    assert (reject.reason, reject.value) == ("message is of nobody known", "tool")


def test_pf1m_is_read_with_its_scores_and_images(root) -> None:
    record = {
        "input": "Is it?<img_path>pics/1.png<img_path><img_path>pics/2.png<img_path>",
        "output": "Yes, it is.",
        "rouge_score": 0.5,
        "nli_similarity": [-1.0, 2.0, 0.1],
        "original": "yes",
        "reward": 1.5,
    }
    root.image("own/pics/2.png")
    root.json("own/x.json", [record])
    (sample,), _ = root.read("pf1m_json", "own", "train")
    assert (sample.id, sample.task, sample.response) == ("pf1m_json/train/own/x-0", Task.VQA, "Yes, it is.")
    assert sample.turns[0] == Turn("human", "Is it?", (0, 1))
    assert paths(sample) == ["pics/1.png", "own/pics/2.png"]
    assert sample.extras == {
        "raw_answer": "yes",
        "scores": {"rouge_l": 0.5, "nli": [-1.0, 2.0, 0.1], "reward": 1.5},
    }


def test_pf1m_records_that_cannot_be_used_are_rejected(root) -> None:
    for values, reason in [
        ({"output": ""}, "row has an empty 'output'"),
        ({"original": None}, "row lacks 'original'"),
        ({"input": "a<img_path>../../x.png<img_path>"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.json("own/x.json", [{"input": "a", "output": "b", "original": "c", **values}])
            _, (reject,) = root.read("pf1m_json", "own", "train")
            assert (reject.row, reject.reason) == ("0", reason)


def test_datajuicer_reads_dialogues_of_several_chunks_and_captions(root) -> None:
    root.lines(
        "own/x.jsonl",
        {"text": "[[human]]: <__dj__image>\nA?\n[[gpt]]: B. <|__dj__eoc|>\n[[human]]: C?\n[[gpt]]: D. <|__dj__eoc|>"}
        | {"images": ["a.png"]},
        {"text": "<__dj__image>\nA cat. <|__dj__eoc|>", "images": ["a.png"]},
        {"text": "[[human]]: <image>\nA?\n[[gpt]]: B. <|__dj__eoc|>", "images": ["a.png"]},
    )
    (dialogue, caption, llava), _ = root.read("datajuicer_jsonl", "own", "all")
    assert [turn.text for turn in dialogue.turns] == ["A?", "B.", "C?", "D."]
    assert (caption.task, caption.response, caption.turns[0].images) == (Task.CAPTION, "A cat.", (0,))
    assert caption.instruction in PLAIN
    assert llava.turns == dialogue.turns[:2]


def tar(root, name: str, *members: tuple[str, bytes]) -> Path:
    path = root.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_tar_files_of_images_and_captions_are_read(root) -> None:
    tar(
        root, "own/0.tar", ("p/1.jpg", PNG), ("p/1.txt", b"A  cat.\n"), ("p/1.json", b'{"url": "x"}'), ("p/2.txt", b"?")
    )
    (sample,), (reject,) = root.read("webdataset", "own", "all")
    assert (sample.task, sample.response, sample.id) == (Task.CAPTION, "A cat.", "webdataset/all/own/0-p/1")
    assert paths(sample)[0].startswith("derived/")
    assert (reject.row, reject.reason) == ("p/2", "caption of no image")


def test_endings_in_capitals_and_names_with_dots_are_those_of_one_sample_each(root) -> None:
    names = [("UP.JPG", PNG), ("UP.TXT", b"A cat.")]
    names += [(f"22.{n:02d}.{kind}", data) for n in (5, 6) for kind, data in (("png", PNG), ("txt", b"A dog."))]
    names += [("3.0.png", PNG), ("3.1.png", PNG), ("3.txt", b"Two.")]
    tar(root, "own/0.tar", *names)
    kept, rejects = root.read("webdataset", "own", "all")
    assert not rejects
    said = [(sample.id.rpartition("/")[2], sample.response, len(sample.images)) for sample in kept]
    assert said == [("0-UP", "A cat.", 1), ("0-22.05", "A dog.", 1), ("0-22.06", "A dog.", 1), ("0-3", "Two.", 2)]


def test_names_in_a_tar_file_never_become_paths(root) -> None:
    tar(root, "own/0.tar", ("../../../evil.png", PNG), ("../../../evil.txt", b"A cat."))
    (sample,), _ = root.read("webdataset", "own", "all")
    assert paths(sample)[0].startswith("derived/")
    assert sorted(path.name for path in root.path.iterdir()) == ["derived", "own"]


def test_a_broken_sample_of_a_tar_file_is_rejected(root) -> None:
    for members, reason in [
        ([("1.json", b"{"), ("1.png", PNG)], "sample cannot be read"),
        ([("1.json", b"[]")], "json of the sample is not an object"),
        ([("1.txt", b"\xff"), ("1.png", PNG)], "sample cannot be read"),
        ([("1.json", b'{"images": ["a", "b"]}'), ("1.png", PNG)], "sample names 2 images and holds 1"),
        ([("1.png", PNG), ("1.png", PNG)], "sample has two members 'png'"),
        ([("1.png", PNG)], "sample has neither conversations nor a caption"),
        ([("1.png", b"no image"), ("1.txt", b"A cat.")], "embedded bytes are no image"),
    ]:
        with root.case(members, reason):
            tar(root, "own/0.tar", *members, ("2.png", PNG), ("2.txt", b"A cat."))
            (sample,), (reject,) = root.read("webdataset", "own", "all")
            assert (sample.response, reject.row, reject.reason.partition(":")[0]) == ("A cat.", "1", reason)


def test_a_damaged_tar_file_is_an_error_and_not_a_short_one(root) -> None:
    for damage in ["cut", "header", "end"]:
        with root.case(damage):
            members = [
                (f"{number}.{kind}", data) for number in range(3) for kind, data in (("png", PNG), ("txt", b"A cat."))
            ]
            path = tar(root, "own/0.tar", *members)
            data = bytearray(path.read_bytes())
            if damage == "header":
                data[2 * 1024] ^= 0xFF  # the second sample's
            path.write_bytes(data[: {"cut": 3 * 1024 + 100, "header": len(data), "end": 4 * 1024}[damage]])
            with pytest.raises(DataError, match="file cannot be read"):
                root.read("webdataset", "own", "all")


def test_text_that_only_begins_with_markers_stays_as_it_is() -> None:
    for text, plain in [
        ("<image>\nA", "A"),
        ("<image>\n<image>\n A ", " A "),
        ("A\n<image>", "A"),
        ("A <image> B", "A  B"),
        (" A", " A"),
    ]:
        with case(text, plain):
            assert unmarked(text) == plain


def test_json_with_details_keeps_order(root) -> None:
    root.text("own/x.jsonl", "\n".join(json.dumps(talk(f"{n}?", f"{n}.")) for n in range(30)))
    samples, _ = root.read("llava_json", "own", "train")
    assert [s.response for s in samples] == [f"{n}." for n in range(30)]


def test_a_record_with_media_that_nobody_reads_is_rejected(root) -> None:
    turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A cat."}]
    for media in ("video", "videos", "audio", "audios"):
        root.json("set/a.json", [{"conversations": turns, media: ["a.mp4"]}, {"conversations": turns, media: []}])
        kept, rejects = root.read("llava_json", "set", "all")
        assert (len(kept), [r.reason for r in rejects]) == (1, [f"record has {media}, which is not read"])
    root.json("set/a.json", [{"conversations": [], "image": "a.png"}])
    assert [r.reason for r in root.read("llava_json", "set", "all")[1]] == ["record has no turns"]


def test_so_do_the_readers_of_public_instruction_data_and_of_tar_files(root) -> None:
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]
    for reader, name, record in (
        ("llava_instruct", "detail_23k.json", {"image": "7.jpg", "conversations": turns}),
        ("sharegpt", "sg_90k_part1.json", {"conversations": turns}),
        ("alpaca", "alpaca_data.json", {"instruction": "Say.", "output": "A cat."}),
        ("ultrachat", "ultrachat_release.json", {"data": ["What?", "A cat."]}),
    ):
        with root.case(reader):
            records = [{"id": "1", **record}, {"id": "2", **record, "videos": ["a.mp4"]}]
            if reader == "ultrachat":
                root.lines(f"{reader}/{name}", *records)
            else:
                root.json(f"{reader}/{name}", records)
            kept, rejects = root.read(reader, reader, "train")
            assert (len(kept), [r.reason for r in rejects]) == (1, ["record has videos, which is not read"])
    tar(root, "own/0.tar", ("1.jpg", PNG), ("1.txt", b"A cat."), ("1.mp4", b"?"), ("2.jpg", PNG), ("2.txt", b"A dog."))
    kept, rejects = root.read("webdataset", "own", "all")
    assert [sample.response for sample in kept] == ["A dog."]
    assert [r.reason for r in rejects] == ["sample has a member 'mp4', which is not read"]


def test_a_read_that_rejects_every_row_ends_with_a_status_of_its_own(root, tmp_path: Path, capsys) -> None:
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]
    words = ["read", "llava_json", str(root.path / "set"), "--out", str(tmp_path / "looked"), "--split", "all"]
    root.json("set/a.json", [{"conversations": turns, "video": "a.mp4"}] * 2)
    assert main(words) == 2
    assert "none of 2 rows could be read" in capsys.readouterr().err
    assert (tmp_path / "looked" / "quarantine.jsonl").read_text().count("record has video") == 2
    root.json("set/a.json", [{"conversations": turns, "video": "a.mp4"}, {"conversations": turns}])
    assert main(words) == 0


def test_an_image_beside_a_folder_that_lies_deeper_is_found(root) -> None:
    root.image("raw/coco/a.png")
    root.json("raw/own/x.json", [talk("A?", "B.", image="coco/a.png")])
    (sample,), _ = root.read("llava_json", "raw/own", "all")
    assert paths(sample) == ["raw/coco/a.png"]
