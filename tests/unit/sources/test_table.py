"""Tables with a mapping.yaml: every kind of file, every key of the mapping, every kind of mistake."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.unit.sources.tables import PNG, STORED, plan, read, write_parquet

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import PLAIN
from polite_flamingo.records import Task, Turn
from polite_flamingo.sources.forms.mapping import KEYS
from polite_flamingo.sources.forms.rows import read_rows


def test_a_csv_file_becomes_samples(root) -> None:
    plan(root, id="n")
    root.image("birds/pics/1.png")
    root.text("birds/a.csv", 'n,q,a,file\n7,"What, then?"," A ""robin""\nsits. ",pics/1.png\n')
    (sample,), rejects = read(root)
    assert rejects == []
    assert (sample.id, sample.source, sample.split, sample.licence) == (
        "table/train/birds/7",
        "table",
        "train",
        "CC0",
    )
    assert sample.turns == (Turn("human", "What, then?", (0,)), Turn("assistant", 'A "robin"\nsits.'))
    assert [image.path for image in sample.images] == ["birds/pics/1.png"]


def test_an_image_may_lie_elsewhere_in_the_data_root(root) -> None:
    plan(root)
    root.image("coco/1.png")
    root.text("birds/a.csv", "q,a,file\nWhat?,A wren.,coco/1.png\nWhat?,A wren.,absent.png\n")
    (elsewhere, absent), _ = read(root)
    assert elsewhere.images[0].path == "coco/1.png"
    assert absent.images[0].path == "birds/absent.png"
    assert elsewhere.id == "table/train/birds/a-2"


ROWS = [{"q": "What?", "a": "A wren.", "file": "1.png"}, {"q": "Where?", "a": "There.", "file": "2.png"}]


def test_every_kind_of_text_file_gives_the_same(root) -> None:
    for name, data in [
        ("a.csv", b"\xef\xbb\xbfq,a,file\r\nWhat?,A wren.,1.png\r\n\r\nWhere?,There.,2.png\r\n"),
        ("a.tsv", b"q\ta\tfile\nWhat?\tA wren.\t1.png\nWhere?\tThere.\t2.png\n"),
        ("a.csv.gz", gzip.compress(b"q,a,file\nWhat?,A wren.,1.png\nWhere?,There.,2.png\n")),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.json", "\n".join(map(json.dumps, ROWS)).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)).encode()),
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
    ]:
        with root.case(name, data):
            plan(root, file="a.*")
            (root.path / "birds" / name).write_bytes(data)
            samples, rejects = read(root)
            assert [(s.instruction, s.response, s.images[0].path) for s in samples] == [
                ("What?", "A wren.", "birds/1.png"),
                ("Where?", "There.", "birds/2.png"),
            ]
            assert rejects == []


def test_parquet_with_embedded_images_stores_them_by_their_content(root) -> None:
    plan(root, file="*.parquet", image="pic")
    rows = [{"q": "What?", "a": "A dot.", "pic": {"bytes": PNG, "path": p}} for p in ("x/1.png", None, "/abs/1.png")]
    write_parquet(root.path / "birds" / "a.parquet", rows)
    samples, _ = read(root)
    assert [s.images[0].path for s in samples] == [STORED] * 3
    assert (root.path / STORED).read_bytes() == PNG


def test_an_embedded_image_that_lies_there_as_a_file_is_not_stored_again(root) -> None:
    plan(root, file="*.parquet", image="pic")
    root.text("birds/x/1.png", "")
    (root.path / "birds/x/1.png").write_bytes(PNG)
    write_parquet(root.path / "birds" / "a.parquet", [{"q": "?", "a": "!", "pic": {"bytes": PNG, "path": "x/1.png"}}])
    (sample,), _ = read(root)
    assert sample.images[0].path == "birds/x/1.png"
    assert not (root.path / "derived").exists()


def test_an_embedded_image_is_stored_where_its_name_leads_out_of_the_data_root(root, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "1.png").write_bytes(PNG)
    plan(root, file="*.parquet", image="pic")
    (root.path / "birds" / "x").symlink_to(outside)
    write_parquet(root.path / "birds" / "a.parquet", [{"q": "?", "a": "!", "pic": {"bytes": PNG, "path": "x/1.png"}}])
    (sample,), _ = read(root)
    assert sample.images[0].path == STORED


def test_bytes_that_are_no_image_are_rejected(root) -> None:
    plan(root, file="*.parquet", image="pic")
    write_parquet(root.path / "birds" / "a.parquet", [{"q": "?", "a": "!", "pic": b"no image"}])
    _, (reject,) = read(root)
    assert (reject.file, reject.row, reject.reason) == ("birds/a.parquet", "0", "embedded bytes are no image")


def test_a_data_root_that_cannot_be_written_stops_the_reading(root, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("polite_flamingo.sources.forms.pictures.write_atomic", refuse)
    plan(root, file="*.parquet", image="pic")
    write_parquet(root.path / "birds" / "a.parquet", [{"q": "?", "a": "!", "pic": PNG}])
    with pytest.raises(DataError, match="make the data root writable"):
        read(root)


def test_captions_are_joined_and_a_request_is_drawn(root) -> None:
    plan(root, file="a.json", question=None, answer=None, answers="caps", task="caption", id="meta.id")
    root.json("birds/a.json", [{"caps": [" A  wren.", "", "A bird."], "file": "1.png", "meta": {"id": 7}}])
    (sample,), _ = read(root)
    assert sample.instruction in PLAIN
    assert (sample.response, sample.id) == ("A wren.\nA bird.", "table/train/birds/7")
    assert sample.extras == {"captions": ["A wren.", "A bird."]}


def test_the_most_frequent_answer_is_the_answer(root) -> None:
    plan(root, file="a.json", answer=None, answers="all")
    root.json("birds/a.json", [{"q": "What?", "all": ["owl", "wren", "wren", None], "file": "1.png"}])
    (sample,), _ = read(root)
    assert (sample.response, sample.extras) == ("wren", {"answers": ["owl", "wren", "wren"]})


def test_the_task_licence_and_permission_may_differ_by_row(root) -> None:
    plan(root, task={"column": "t"}, licence={"text": "CC {l}"}, permissive=True)
    root.text(
        "birds/a.csv", "q,a,file,t,l\nWhat?,A wren.,1.png,vqa,BY\nSay!,A wren.,1.png,detail,0\nX,Y,1.png,sing,0\n"
    )
    (first, second), (reject,) = read(root)
    assert (first.task, first.licence, first.extras) == (Task.VQA, "CC BY", {"permissive": True})
    assert (second.task, second.licence) == (Task.DETAIL, "CC 0")
    assert (reject.row, reject.reason, reject.value) == ("4", "unknown task", "sing")


def test_text_with_columns_in_it_and_two_image_columns(root) -> None:
    plan(root, question={"text": "True or false: {s}"}, image=None, images=["x", {"text": "pics/{y}.png"}])
    root.text("birds/a.csv", "s,a,x,y\nIt flies.,True,1.png,2\n")
    (sample,), _ = read(root)
    assert sample.instruction == "True or false: It flies."
    assert [image.path for image in sample.images] == ["birds/1.png", "birds/pics/2.png"]
    assert sample.turns[0].images == (0, 1)


def test_an_image_column_may_hold_a_list(root) -> None:
    plan(root, file="a.json")
    root.json("birds/a.json", [{"q": "Same?", "a": "No.", "file": ["1.png", "2.png"]}])
    (sample,), _ = read(root)
    assert [image.path for image in sample.images] == ["birds/1.png", "birds/2.png"]


def test_only_an_optional_image_may_be_absent(root) -> None:
    table = "q,a,file\nWhat?,A wren.,\n"
    plan(root)
    root.text("birds/a.csv", table)
    _, (reject,) = read(root)
    assert reject.reason == "'file' is empty"
    plan(root, image={"column": "file", "optional": True})
    (sample,), _ = read(root)
    assert (sample.images, sample.turns[0].images) == ((), ())


def test_rows_of_another_split_are_passed_over(root) -> None:
    plan(root, split="s")
    root.text("birds/a.csv", "q,a,file,s\nA?,a,1.png,train\nB?,b,1.png,val\nC?,c,1.png,\n")
    (train,), (reject,) = read(root)
    both, _ = read(root, "all")
    assert (train.id, reject.reason) == ("table/train/birds/a-2", "'s' is empty")
    assert [s.split for s in both] == ["train", "val"]


def test_a_file_without_header_and_quotes(root) -> None:
    plan(root, file="*.tsv", header=["a", "file"], quotes=False, question=None, task="caption")
    root.text("birds/a.tsv", 'A 12" ruler\t1.png\n"Hi"\t2.png\n')
    samples, _ = read(root)
    assert [s.response for s in samples] == ['A 12" ruler', '"Hi"']


def test_rows_under_a_key_of_an_object(root) -> None:
    plan(root, file="a.json", rows="data")
    root.json("birds/a.json", {"version": 1, "data": ROWS})
    assert len(read(root)[0]) == 2


def test_a_broken_row_is_rejected_and_the_rest_goes_on(root) -> None:
    plan(root)
    rows = ["q,a,file", "A?,a,1.png", "B?,b", "C?,,1.png", "D?,d,../../etc/passwd", "E?,e\udcff,1.png", "F?,f,1.png"]
    (root.path / "birds" / "a.csv").write_bytes("\n".join(rows).encode("utf-8", "surrogateescape"))
    samples, rejects = read(root)
    assert [s.response for s in samples] == ["a", "f"]
    assert [(r.row, r.reason) for r in rejects] == [
        ("3", "row has 2 fields, the header 3"),
        ("4", "'a' is empty"),
        ("5", "image path leaves the data root"),
        ("6", "row is not valid UTF-8"),
    ]


def test_a_broken_json_line_is_rejected(root) -> None:
    plan(root, file="*.jsonl")
    root.text("birds/a.jsonl", json.dumps(ROWS[0]) + '\n{"q": \n[1]\n' + json.dumps({**ROWS[1], "a": ["x"]}) + "\n")
    (sample,), rejects = read(root)
    assert sample.response == "A wren."
    assert [(r.row, r.reason.partition(":")[0]) for r in rejects] == [
        ("2", "line is not valid JSON"),
        ("3", "row is not an object"),
        ("4", "'a' is no text (a list is mapped with `answers`)"),
    ]


def test_a_file_that_is_broken_as_a_whole_is_an_error(root) -> None:
    for name, data, message in [
        ("a.csv", b'q,a,file\n"A?" x,a,1.png\n', "file is not valid CSV"),
        ("a.csv", b'q,a,file\n"A?,a,1.png\n', "file is not valid CSV"),
        ("a.csv", b"q,a,a\n1,2,3\n", "stands twice in the header"),
        ("a.json", b'[{"q": ', "file is not valid JSON"),
        ("a.json", b'{\n "rows": []}', "file holds no list"),
        ("a.csv.gz", gzip.compress(b"q,a,file\n" * 99)[:-9], "file cannot be read"),
        ("a.parquet", b"PAR1 and nothing more", "file cannot be read"),
        ("a.arrow", b"ARROW1", "file cannot be read"),
        ("a.xlsx", b"PK", "unknown kind of table"),
    ]:
        with root.case(name, data, message):
            plan(root, file="a.*")
            (root.path / "birds" / name).write_bytes(data)
            with pytest.raises(DataError, match=message):
                read(root)


def test_a_column_the_table_does_not_have_is_named_with_a_suggestion(root) -> None:
    for name in ["a.csv", "a.parquet", "a.json"]:
        with root.case(name):
            plan(root, file=name, question="questoin")
            rows = [{"question": "What?", "a": "A wren.", "file": "1.png"}]
            root.text("birds/a.csv", "question,a,file\nWhat?,A wren.,1.png\n")
            root.json("birds/a.json", rows)
            write_parquet(root.path / "birds" / "a.parquet", rows)
            with pytest.raises(DataError, match=r"no such column\n.*'questoin'\n.*\n.*did you mean 'question'"):
                read(root)


def test_a_mistake_in_the_mapping_is_named(root) -> None:
    for changes, problem in [
        ({"qestion": "q"}, "qestion: unknown key .did you mean 'question'"),
        ({"task": "vq"}, "task: unknown .did you mean 'vqa'"),
        ({"task": None}, "task: missing"),
        ({"licence": None}, "licence: missing"),
        ({"answer": None}, "answer or answers: missing"),
        ({"question": None}, "question: missing .none can be drawn for the task vqa"),
        ({"file": None}, "one of file, saved and hub must be there"),
        ({"file": "../*.csv"}, "file: not a path below the folder"),
        ({"file": "/etc/*.csv"}, "file: not a path below the folder"),
        ({"hub": "someone/birds"}, "hub: not owner/name@revision"),
        ({"saved": "disk"}, "one of file, saved and hub must be there"),
        ({"question": {"colum": "q"}}, "question: neither a column nor"),
        ({"answers": {"text": "x"}}, "answers: must be a column that holds lists"),
        ({"images": "x"}, "images: not a list of columns"),
        ({"header": "q"}, "header: not a list of names"),
        ({"quotes": "no"}, "quotes: neither true nor false"),
        ({"permissive": "maybe"}, "permissive: neither true nor false"),
        ({"rows": 3}, "rows: not a key"),
    ]:
        with root.case(changes, problem):
            plan(root, **changes)
            with pytest.raises(DataError, match=problem):
                read(root)


def test_all_mistakes_are_named_at_once(root) -> None:
    plan(root, task="sing", licence=None, colour="red")
    with pytest.raises(DataError, match="3 problem"):
        read(root)


def test_a_mapping_that_cannot_be_read_is_an_error(root) -> None:
    for text, message in [
        (None, "folder has no mapping"),
        ("a: [", "not valid YAML"),
        ("- a\n", "not a list of"),
        ("\udcff", "not valid"),
    ]:
        with root.case(text, message):
            (root.path / "birds").mkdir()
            if text is not None:
                (root.path / "birds" / "mapping.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
            with pytest.raises(DataError, match=message):
                read(root)


def test_every_key_is_explained() -> None:
    from polite_flamingo.sources.forms import mapping

    assert all(f"``{key}``" in (mapping.__doc__ or "") for key in KEYS)


def test_parquet_is_read_a_batch_at_a_time(root) -> None:
    (root.path / "birds").mkdir()
    path = root.path / "birds" / "a.parquet"
    write_parquet(path, [{"q": str(number), "other": "x"} for number in range(200)])
    rows = list(read_rows("table", root.path, path, columns={"q"}))
    assert [number for number, _ in rows] == list(range(200))
    assert rows[199][1] == {"q": "199"}
