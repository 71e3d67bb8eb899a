import gzip
from pathlib import Path

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject
from polite_flamingo.sources.forms import files
from polite_flamingo.sources.forms.files import find_one, read_items, read_lines, read_rows


@pytest.fixture(params=["at once", "streamed"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "streamed":
        monkeypatch.setattr(files, "STREAM_ABOVE", 0)
    return str(request.param)


def test_lists_are_read_from_the_root_and_from_a_key(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json").write_text('[{"x": 1.5}, {"x": null}]')
    (tmp_path / "b.json").write_text('{"info": {"annotations": 3}, "annotations": [1, 2]}')
    assert list(read_items(tmp_path / "a.json")) == [{"x": 1.5}, {"x": None}]
    assert list(read_items(tmp_path / "b.json", "annotations")) == [1, 2]


def test_a_gzipped_json_file_reads_like_a_plain_one(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[1, 2]"))
    assert list(read_items(tmp_path / "a.json.gz")) == [1, 2]


def test_a_syntax_error_names_file_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[\n {"x": 1},\n {"x" 2}\n]')
    with pytest.raises(DataError, match=r"not valid JSON[\s\S]*a\.json:3:7"):
        list(read_items(tmp_path / "a.json"))


def test_a_syntax_error_of_a_streamed_file_names_file_and_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "STREAM_ABOVE", 0)
    (tmp_path / "a.json").write_text('[{"x": 1}, {"x" 2}]')
    with pytest.raises(DataError, match=r"not valid JSON[\s\S]*a\.json, before byte \d+"):
        list(read_items(tmp_path / "a.json"))


def test_a_cut_off_file_is_refused(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json").write_text('[{"x": 1}, {"x"')
    with pytest.raises(DataError, match="not valid JSON"):
        list(read_items(tmp_path / "a.json"))


def test_a_cut_off_gzip_file_is_refused(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[1, 2, 3, 4, 5]")[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_items(tmp_path / "a.json.gz"))


@pytest.mark.parametrize("text", [b'["' + b"x" * 900_000, b"\n" * 900_000])
def test_a_gzipped_file_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch, text: bytes) -> None:
    monkeypatch.setattr(files, "ALLOWANCE", 10_000)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text))
    for read in (read_items, lambda path: read_lines("s", tmp_path, path)):
        with pytest.raises(DataError, match="unpacks to more than"):
            list(read(tmp_path / "a.json.gz"))


def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'["\xff\xfe caf\xe9"]')
    with pytest.raises(DataError, match="not valid JSON"):
        list(read_items(tmp_path / "a.json"))


def test_a_file_without_the_list_is_refused(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="no list 'annotations'"):
        list(read_items(tmp_path / "a.json", "annotations"))


def test_a_broken_line_of_json_lines_loses_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"x": 1}\n\n{"x" 2}\n"caf\xe9"\n{"x": 3}\n')
    rows = list(read_lines("demo", tmp_path, tmp_path / "a.jsonl"))
    assert [(n, v) for n, v in rows if not isinstance(v, Reject)] == [(1, {"x": 1}), (5, {"x": 3})]
    rejects = [v for _, v in rows if isinstance(v, Reject)]
    assert [(r.source, r.file, r.row, r.value) for r in rejects] == [
        ("demo", "a.jsonl", "3", '{"x" 2}'),
        ("demo", "a.jsonl", "4", '"caf\ufffd"'),
    ]


def test_two_fitting_files_ask_for_a_more_exact_split(tmp_path: Path) -> None:
    for year in (2014, 2017):
        (tmp_path / f"captions_train{year}.json").write_text("{}")
    with pytest.raises(DataError, match=r"captions_train2014\.json"):
        find_one(tmp_path, ".", "captions_train*.json")


def test_a_missing_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder does not exist"):
        find_one(tmp_path, "nowhere", "*.json")
    with pytest.raises(DataError, match="no annotation file"):
        find_one(tmp_path, ".", "*.json")


def test_records_under_a_key_are_read_from_an_object_and_from_a_list(tmp_path: Path, either_way: str) -> None:
    (tmp_path / "a.json").write_text('{"images": {"9": [1], "3": [2]}, "refexps": [1.5, 2]}')
    assert list(read_rows(tmp_path / "a.json", "images")) == [("9", [1]), ("3", [2])]
    assert list(read_rows(tmp_path / "a.json", "refexps")) == [("0", 1.5), ("1", 2)]
    with pytest.raises(DataError, match="'annotations'"):
        list(read_rows(tmp_path / "a.json", "annotations"))


@pytest.mark.parametrize("nested", ["[", '{"a":'])
def test_a_streamed_file_that_nests_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, nested):
    monkeypatch.setattr("polite_flamingo.sources.forms.files.STREAM_ABOVE", 0)
    file = tmp_path / "a.json"
    file.write_text('{"rows": [1, ' + nested * 20_000)
    with pytest.raises(DataError, match="not valid JSON"):
        list(read_items(file, "rows"))
