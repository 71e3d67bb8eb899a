"""Digests of data are DVC's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polite_flamingo.io.files import set_aside
from polite_flamingo.io.shards import write_shards
from polite_flamingo.tracking import outputs
from polite_flamingo.tracking.data import describe


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# What `dvc add data` (3.67) made of data/a/x.txt = "x" and data/b/y.txt = "y", and `dvc add data/a` of the first alone
WHOLE = "fda36a5cca3b433e80dc636e46aa9228.dir"
FILES = [
    {"md5": "9dd4e461268c8034f5c8564e155c67a6", "relpath": "a/x.txt"},
    {"md5": "415290769594460e2e485922904f345d", "relpath": "b/y.txt"},
]


def test_the_output_itself_has_the_md5_of_the_lock() -> None:
    assert outputs.digest(Path("data"), {"download": {"data": WHOLE}}) == WHOLE.removesuffix(".dir")


def test_a_folder_within_an_output_has_the_md5_that_dvc_would_give_it() -> None:
    listed = outputs.CACHE / WHOLE[:2] / WHOLE[2:]
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps(FILES))
    assert outputs.digest(Path("data/a"), {"download": {"data": WHOLE}}) == "1df8f1328293607e58f24aa743bae60b"


def test_a_file_whose_bytes_changed_on_the_disk_is_found_and_no_other_one() -> None:
    listed = outputs.CACHE / WHOLE[:2] / WHOLE[2:]
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps(FILES))
    for file, text in (("data/a/x.txt", "x"), ("data/b/y.txt", "y"), ("one.json", "1")):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
    hashes = {"download": {"data": WHOLE, "one.json": "c4ca4238a0b923820dcc509a6f75849b"}}
    reads = ["data/a", "one.json", "src/x.py"]
    assert list(outputs.damaged(reads, hashes)) == []
    for file in ("data/a/x.txt", "data/b/y.txt", "one.json"):
        Path(file).write_text("z")
    assert list(outputs.damaged(reads, hashes)) == [Path("data/a/x.txt"), Path("one.json")]


def test_a_damaged_list_of_dvcs_cache_is_found_and_not_believed() -> None:
    listed = outputs.CACHE / WHOLE[:2] / WHOLE[2:]
    listed.parent.mkdir(parents=True)
    Path("data/a").mkdir(parents=True)
    Path("data/a/x.txt").write_text("x")
    for text in ("", "7", json.dumps(FILES).replace("9dd4", "9dd5")):
        listed.write_text(text)
        assert list(outputs.damaged(["data/a"], {"download": {"data": WHOLE}})) == [listed]
        assert outputs.digest(Path("data/a"), {"download": {"data": WHOLE}})


def test_a_copy_in_the_cache_that_is_damaged_too_is_found_wherever_the_cache_is(tmp_path: Path) -> None:
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(f'[core]\n    no_scm = true\n[cache]\n    dir = "{tmp_path}/a, b#c"\n')
    for entry in FILES:
        kept = tmp_path / "a, b#c" / "files" / "md5" / entry["md5"][:2] / entry["md5"][2:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("damaged" if entry["relpath"] == "a/x.txt" else "y")
    (kept.parents[1] / WHOLE[:2]).mkdir(exist_ok=True)
    (kept.parents[1] / WHOLE[:2] / WHOLE[2:]).write_text(json.dumps(FILES))
    for name in ("a/x.txt", "b/y.txt"):
        Path("data", name).parent.mkdir(parents=True)
        Path("data", name).write_text("z")
    spoilt = kept.parents[1] / FILES[0]["md5"][:2] / FILES[0]["md5"][2:]
    found = list(outputs.damaged(["data"], {"download": {"data": WHOLE}}))
    assert found == [spoilt, Path("data/a/x.txt"), Path("data/b/y.txt")]
    set_aside(spoilt, "damaged", Path("kept"))
    assert not spoilt.exists()


def test_outside_dvc_it_changes_with_the_files() -> None:
    Path("data").mkdir()
    Path("data/x").write_text("1")
    first = outputs.digest(Path("data"), {})
    Path("data/x").write_text("22")
    assert outputs.digest(Path("data"), {}) != first


def test_counts_and_shares_of_licences_are_described(tmp_path: Path) -> None:
    rows = [{"id": str(n), "licence": "MIT" if n % 4 else "CC BY 4.0", "source": "s"} for n in range(8)]
    write_shards(tmp_path / "kept", rows, rows_per_shard=5)
    data = describe("PF-1M", tmp_path / "kept", "training", {})
    assert data is not None
    assert data.profile == {"num_rows": 8, "licences": {"MIT": 0.75, "CC BY 4.0": 0.25}, "sources": {"s": 1.0}}
    assert describe("pairs", tmp_path / "nothing", "training", {}) is None
