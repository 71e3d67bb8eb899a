"""A project of one's own: what lies in a folder is recognised, and a profile that fits is written."""

from __future__ import annotations

import base64
import csv
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.start.forms import coco, llava, photograph

from polite_flamingo.cli import main
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.laptop.adapters import MPNET
from polite_flamingo.launch.pipeline_file import predecessors, read_stages
from polite_flamingo.model.origins import PACKAGED
from polite_flamingo.params.reading import load_params
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources.selection import SourceSpec
from polite_flamingo.start.columns import guess
from polite_flamingo.start.recognise import first_look, recognise
from polite_flamingo.start.tables import Found

ENDPOINT = "openai:http://127.0.0.1:9/v1#model"
HEADER = ("number", "question", "answer", "file")


def photographs(folder: Path, count: int = 2) -> list[tuple[Any, ...]]:
    """Pictures of boxes in a folder, and rows of a table that asks how many there are."""
    for number in range(1, count + 1):
        photograph(folder / f"{number}.png", number % 4 + 1)
    return [(n, "How many boxes are there?", n % 4 + 1, f"{n}.png") for n in range(1, count + 1)]


def table(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = HEADER, **form: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=form.pop("encoding", "utf-8")) as file:
        csv.writer(file, **form).writerows([header, *rows])


def read(path: Path, named: Mapping[str, str] | None = None) -> tuple[list[Sample], list[Reject]]:
    """What the reader that fits yields, by the mapping that a profile would have."""
    (found,) = recognise(path, named)
    mapping = None if found.mapping is None else {**found.mapping, "licence": "CC0"}
    values = {"name": found.reader, "folder": found.folder.name, "role": "annotation", "mapping": mapping}
    items = [
        item
        for split in found.splits
        for item in SourceSpec(split=split, **values)
        .reader()
        .read(found.folder.parent, found.folder.name, split, seed=0)
    ]
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Reject)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_table_with_photographs_becomes_a_project_that_needs_no_edit(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(project / "photos" / "questions.csv", photographs(project / "photos"))
    assert main(["init", "photos", "--rewriter", ENDPOINT, "--yes", "--flows"]) == 0
    assert "download -> check_raw -> rewrite -> check_rewritten -> score" in capsys.readouterr().out
    params = load_params()
    assert (params.profile, params.data_root, params.contradictions()) == ("photos", ".", [])
    stages = read_stages(project / "dvc.yaml")
    assert tuple(stages) == params.stages
    before = predecessors(stages)
    assert before["rewrite"] == {"download", "check_raw"}
    assert before["score"] == {"download", "rewrite", "check_rewritten"}
    assert not any(dep.startswith("src/") for stage in stages.values() for dep in stage.get("deps", ()))
    assert all({"configs/code.yaml": [name]} in stage["params"] for name, stage in stages.items())
    assert (project / ".git").is_dir() and (project / "flows" / "_dvc.py").is_file()
    assert main(["params", "--check"]) == 0
    assert main(["init", "photos", "--rewriter", ENDPOINT, "--yes"]) == 2  # nothing is overwritten
    assert "there is a profile of this name" in capsys.readouterr().err
    (project / ".gitignore").write_text("data\n", encoding="utf-8")
    assert main(["init", "photos", "--rewriter", ENDPOINT, "--yes", "--name", "other"]) == 0
    told = capsys.readouterr().out
    assert "preview --profile other, then polite-flamingo run --profile other" in told
    assert "it lacks, a line each: /models/ /reports/*" in told


def test_small_judges_for_photographs_come_with_their_own_scale(project: Path) -> None:
    table(project / "photos" / "questions.csv", photographs(project / "photos"))
    assert main(["init", "photos", "--rewriter", ENDPOINT, "--scorers", "laptop", "--yes"]) == 0
    params = load_params()
    judges = params.backbones
    assert (judges.clip, judges.nli, judges.reward) == ("laptop", "laptop", "laptop")
    assert judges.sts == MPNET  # the encoder on which the judges were trained
    card = read_json(PACKAGED.parent / "laptop" / "manifest.json")["figures"]["clip"]["validation"]
    assert (params.score.clip_mode, params.filter.nli.reject) == ("fixed", ["contradiction", "neutral"])
    assert params.filter.paragraphs.min_clip_logit == pytest.approx(card["threshold"], abs=0.05)


@pytest.mark.parametrize("rewriter", ["gpt4", "openai:http://host/v1", "hf:", "openai:host#model"])
def test_a_rewriter_of_no_known_form_is_refused_before_anything_is_done(
    project: Path, capsys: pytest.CaptureFixture[str], rewriter: str
) -> None:
    assert main(["init", "photos", "--rewriter", rewriter, "--yes"]) == 2
    assert ("not the url" if "#" in rewriter else "openai:<base url>#<model>") in capsys.readouterr().err


def test_questions_are_known_by_their_marks_and_unused_columns_are_named(tmp_path: Path) -> None:
    rows = [{"nr": n, "ask": "How many?", "reply": "2", "note": "x"} for n in range(3)]
    columns = guess(rows, tmp_path, {"answer": "reply"})
    assert columns.mapping["question"] == "ask"
    assert columns.notes == ["columns that nothing uses: nr, note (--column PART=NAME)"]


def test_nobody_is_guessed_to_rewrite(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(project / "photos" / "questions.csv", photographs(project / "photos"))
    assert main(["init", "photos", "--yes"]) == 2
    assert "--rewriter" in capsys.readouterr().err
    assert not (project / "params.yaml").exists()


def test_tables_of_spreadsheets_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    first, second = photographs(folder / "images")
    quoted = (*first[:1], 'How many "boxes",\nplease?', *first[2:])
    table(folder / "a.csv", [quoted, second], delimiter=";", encoding="utf-8-sig")
    samples, rejects = read(folder)
    assert rejects == []
    assert samples[0].turns[0].text == 'How many "boxes",\nplease?'
    assert samples[0].id == "table/all/photos/1"  # the mark at the file's beginning is no part of a name
    assert [sample.images[0].path for sample in samples] == ["photos/images/1.png", "photos/images/2.png"]
    table(folder / "a.csv", [(*row[:3], row[3].removesuffix(".png")) for row in (quoted, second)])
    samples, rejects = read(folder)  # files named without their ending, as in DAQUAR's tables
    assert [sample.images[0].path for sample in samples] == ["photos/images/1.png", "photos/images/2.png"]


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    rows = photographs(folder)
    rows += [(3, "What\0?", 1, "1.png"), (4, "x" * 300_000, 1, "1.png"), (5, "What?", 1, "https://host/1.png")]
    rows += [(5, "What?", 1, "absent.png")]
    table(folder / "a.csv", rows)
    samples, rejects = read(folder)
    assert len(samples) == 3  # what is no file is found when images are decoded
    assert [reject.reason.split(":")[0] for reject in rejects] == [
        "row holds a NUL character",
        "'question' holds 300,000 characters, more than 200,000",
        "image is an address, and none is fetched, for what lies there may change",
    ]
    (folder / "photos.zip").touch()
    notes = "\n".join(first_look(recognise(folder)[0]))
    assert "'number' repeats" in notes and "photos/absent.png; unpack photos.zip" in notes
    assert "3 of the first 6 rows cannot be used" in notes and "How many boxes are there? -> 2 (photos/1.png)" in notes
    assert "max_rejected_share: 0.67" in "".join(first_look(recognise(folder)[0], 0.05))


def test_data_of_which_nothing_can_be_used_makes_no_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, address = [(1, "What?", ""), (2, "Who?", " ")], [(1, "What?", "Ann", "http://host/1.png")]
    for rows, told in [
        (empty, ("none of the first 2 rows can be used", "2 x 'answer' is empty (photos/a.csv, row 2)")),
        (address, ("1 x image is an address", "save the files", "http://host/1.png")),
    ]:
        table(project / "photos" / "a.csv", rows, HEADER[: len(rows[0])])
        assert main(["init", "photos", "--rewriter", ENDPOINT, "--yes"]) == 2
        error = capsys.readouterr().err
        assert all(words in error for words in told), error
        assert not (project / "configs").exists()
    (url,) = guess([{"question": "What?", "answer": "Ann", "url": "https://host/1"}], project).notes[:1]
    assert url.startswith("'url' holds addresses, and none is fetched")


def test_images_that_are_all_elsewhere_are_the_first_thing_to_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = photographs(project / "elsewhere")
    table(project / "photos" / "a.csv", rows)
    (project / "photos" / "images.zip").touch()
    assert main(["init", "photos", "--rewriter", ENDPOINT, "--yes"]) == 0
    last = capsys.readouterr().out.splitlines()[-3:]
    assert last[0] == "to do: 2 of 2 image files are not there: photos/1.png; unpack images.zip"
    assert last[2].startswith("next: what is to do; then polite-flamingo preview")


def test_an_image_in_base64_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    photographs(folder / "elsewhere", 1)
    text = base64.b64encode((folder / "elsewhere" / "1.png").read_bytes()).decode()
    table(folder / "a.csv", [("A box.", text), ("A box.", f"data:image/png;base64,{text}")], ("caption", "picture"))
    samples, rejects = read(folder)
    assert rejects == [] and {sample.images[0].path.split("/")[0] for sample in samples} == {"derived"}
    table(folder / "a.csv", [("A box.", text), ("A box.", "bm9wZW5v" * 99)], ("caption", "image"))
    samples, (reject,) = read(folder)
    assert len(samples) == 1 and reject.reason == "image path is none that a file can have", "and no crash"


def test_a_column_that_cannot_be_told_is_asked_for(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "birds"
    table(folder / "a.csv", photographs(folder), ("number", "ask", "reply", "file"))
    with pytest.raises(DataError, match=r"no column can be told(?s:.*)\['number', 'ask', 'reply', 'file'\]"):
        recognise(folder)
    with pytest.raises(DataError, match=r"no such column(?s:.*)did you mean 'reply'"):
        recognise(folder, {"answer": "replay"})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"reply\nask\n{ENDPOINT}\ny\n"))
    assert main(["init", str(folder)]) == 0  # what nobody can know, it asks
    assert load_params().rewriter_backend == ENDPOINT
    mapping = load_params().sources[0].mapping
    assert mapping is not None and (mapping["question"], mapping["answer"]) == ("ask", "reply")


def test_a_folder_of_folders_is_looked_into_with_their_splits(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = photographs(tmp_path / "csv")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    picture = {"bytes": (tmp_path / "csv" / "1.png").read_bytes(), "path": None}
    for split in ("train", "test"):
        columns = {"image": [picture], "caption": [["Two boxes.", "Boxes."]]}
        pq.write_table(pa.table(columns), tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    for split in ("train", "val"):
        table(tmp_path / "csv" / f"{split}.csv", rows)
    (tmp_path / "json").mkdir()
    nested = {"version": 1, "data": [{"question": "How many?", "answer": "2"}]}
    (tmp_path / "json" / "a.json").write_text(json.dumps(nested, indent=1))
    (tmp_path / "vsr").mkdir()  # named as a dataset's file, and not in its form
    (tmp_path / "vsr" / "train.jsonl").write_text('{"instruction": "Greet.", "output": "Hello."}\n')
    llava(tmp_path / "llava")
    found = {item.folder.name: item for item in recognise(tmp_path)}
    assert {name: (item.reader, item.splits) for name, item in found.items()} == {
        "csv": ("table", ("train", "val")),
        "hub": ("table", ("test", "train")),
        "json": ("table", ("all",)),
        "llava": ("llava_json", ("all",)),
        "vsr": ("table", ("train",)),
    }
    assert "1 of the first 3 are dialogues" in "".join(first_look(found["llava"]))
    assert [sample.response for sample in read(tmp_path / "json")[0]] == ["2"], "the rows under the only list"
    samples, rejects = read(tmp_path / "hub")
    assert rejects == [] and [sample.task for sample in samples] == ["caption"] * 2
    assert samples[0].extras["captions"] == ["Two boxes.", "Boxes."]


def test_a_data_root_is_no_dataset_although_a_reader_looks_into_its_folders(tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    pair = {"identifier": "dev-1-0-0", "sentence": "There are two boxes.", "label": "True"}
    (tmp_path / "nlvr2" / "data").mkdir(parents=True)
    (tmp_path / "nlvr2" / "data" / "dev.json").write_text(json.dumps(pair))
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "a.csv").write_text("model,score\nmine,3\n")
    found = recognise(tmp_path)
    assert [(item.reader, item.folder.name) for item in found] == [("coco", "coco"), ("nlvr2", "nlvr2")]
    assert found[0].notes == ("not read: scores (no column can be told to hold the answers)",)


def test_annotations_of_which_a_part_is_elsewhere_are_told_as_such(tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    (tmp_path / "coco" / "annotations" / "captions_val2017.json").unlink()
    with pytest.raises(DataError, match=r"COCO's form is read by its official names(?s:.*)boxes alone are no task"):
        recognise(tmp_path / "coco")
    table(tmp_path / "a" / "a.csv", [("1", "2", "yes")], ("question_id", "image_id", "answer"))
    with pytest.raises(DataError, match="the questions are in another file"):
        recognise(tmp_path / "a")


def test_what_macos_puts_into_archives_is_passed_over(tmp_path: Path) -> None:
    llava(tmp_path / "llava")
    (tmp_path / "llava" / "._mine.json").write_bytes(b"\0\5\x16\7\0")
    (tmp_path / "__MACOSX" / "llava").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "llava" / "a.json").write_text('[{"question": "?", "answer": "x"}]')
    (found,) = recognise(tmp_path)
    assert (found.reader, found.notes) == ("llava_json", ())
    assert len(read(tmp_path / "llava")[0]) == 3


def test_a_part_of_coco_is_recognised_by_a_name_of_its_own(tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    annotations = tmp_path / "coco" / "annotations"
    (annotations / "captions_val2017.json").rename(annotations / "captions_val2017_mine.json")
    (found,) = recognise(tmp_path / "coco")
    assert (found.reader, found.splits) == ("coco", ("val2017_mine",))


def test_records_of_other_programs_are_known_by_what_stands_in_them(tmp_path: Path) -> None:
    photograph(tmp_path / "dj" / "images" / "1.jpg")
    spoken = {"images": ["images/1.jpg"], "text": "[[human]]: <__dj__image>\nHow many?\n[[gpt]]: 2 <|__dj__eoc|>"}
    (tmp_path / "dj" / "a.jsonl").write_text(json.dumps(spoken))
    pf1m = {"input": "<img_path>dj/images/1.jpg<img_path>How many?", "output": "There are two.", "original": "2"}
    (tmp_path / "pf1m").mkdir()
    (tmp_path / "pf1m" / "a.json").write_text(json.dumps([pf1m]))
    swift = {"query": "<image>How many?", "response": "2", "images": ["1.jpg"]}
    (tmp_path / "swift" / "images").mkdir(parents=True)
    (tmp_path / "swift" / "images" / "1.jpg").write_bytes((tmp_path / "dj" / "images" / "1.jpg").read_bytes())
    (tmp_path / "swift" / "a.jsonl").write_text(json.dumps(swift))
    url = {"type": "image_url", "image_url": {"url": "1.jpg"}}
    messages = [{"role": "user", "content": [url, {"type": "text", "text": "How many?"}]}]
    (tmp_path / "swift" / "b").mkdir()
    openai = {"messages": [*messages, {"role": "assistant", "content": "2"}]}
    (tmp_path / "swift" / "b" / "c.jsonl").write_text(json.dumps(openai))
    for folder, reader in (("dj", "datajuicer_jsonl"), ("pf1m", "pf1m_json"), ("swift", "table")):
        (sample,), rejects = read(tmp_path / folder)
        assert (recognise(tmp_path / folder)[0].reader, sample.instruction, rejects) == (reader, "How many?", [])
        assert (tmp_path / sample.images[0].path).is_file(), folder
    (tmp_path / "swift" / "a.jsonl").rename(tmp_path / "swift" / "images" / "kept")
    (deep,) = recognise(tmp_path / "swift")
    assert (deep.reader, deep.folder.name) == ("messages_json", "b"), "folders below are looked into"


def test_shards_of_images_are_read_although_tables_lie_beside_them(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    picture = photograph(shards / "1.jpg")
    with tarfile.open(shards / "00000.tar", "w") as tar:
        tar.add(picture, "000.jpg")
        (tmp_path / "000.txt").write_text("Two boxes.")
        tar.add(tmp_path / "000.txt", "000.txt")
    (shards / "00000_stats.json").write_text('{"count": 1, "successes": 1}')
    (sample,), _ = read(shards)
    assert (sample.source, sample.response) == ("webdataset", "Two boxes.")
    whole = (shards / "00000.tar").read_bytes()
    (shards / "00000.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as error:
        first_look(Found("webdataset", shards, ("all",), ""))
    assert str(error.value.where) == str(shards / "00000.tar"), "not where it was looked at"


def test_a_folder_that_no_reader_fits_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    photographs(tmp_path / "photos")
    with pytest.raises(DataError, match=r"no reader fits(?s:.*)2 \.png"):
        recognise(tmp_path / "photos")
    (tmp_path / "photos.zip").touch()
    with pytest.raises(DataError, match=r"no reader fits(?s:.*)unpack photos.zip and name the folder"):
        recognise(tmp_path / "photos.zip")
    (tmp_path / "photos" / "a.csv").write_text("question,answer\n", encoding="utf-16")
    with pytest.raises(DataError, match="file is UTF-16"):
        recognise(tmp_path / "photos")
    (tmp_path / "photos" / "a.csv").write_text("question,answer\n")
    with pytest.raises(DataError, match="file has no rows"):
        recognise(tmp_path / "photos")
    (tmp_path / "photos" / "a.csv").write_text("question,answer\nQu'est-ce?,thé\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"1 x row is not valid UTF-8 \(a.csv, row 2(?s:.*)save it as UTF-8"):
        recognise(tmp_path / "photos")
    (tmp_path / "photos" / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"answers alone are no task(?s:.*)--column question=NAME"):
        recognise(tmp_path / "photos")
    with pytest.raises(DataError, match=r"no such folder or file(?s:.*)there are photos/"):
        recognise(tmp_path / "photo" / "deeper")
    with pytest.raises(DataError, match=r"hf download --repo-type dataset me/birds --local-dir birds; then init birds"):
        recognise(Path("hub:me/birds"))


def test_a_dataset_whose_regions_are_drawn_is_recognised_and_no_row_is_taken_twice(tmp_path: Path) -> None:
    photograph(tmp_path / "coco" / "train2014" / "COCO_train2014_000000000042.jpg")
    (tmp_path / "refcoco").mkdir()
    row = {"img_id": "COCO_train2014_000000000042_1", "sents": "left box", "bbox": [4, 20, 10, 20]}
    (tmp_path / "refcoco" / "refcoco_val.json").write_text(json.dumps([{**row, "height": 64, "width": 64}]))
    (found,) = recognise(tmp_path / "refcoco")
    assert (found.reader, found.splits) == ("refcoco", ("refcoco_val",))
    assert not (tmp_path / "derived").exists()
    (tmp_path / "scienceqa").mkdir()
    question = {"question": "Which?", "choices": ["a", "b"], "answer": 0, "hint": "", "image": None, "split": "train"}
    (tmp_path / "scienceqa" / "problems.json").write_text(json.dumps({"1": question}))
    assert recognise(tmp_path / "scienceqa")[0].splits == ("train",), "trainval has the same rows"
