"""Unpacking archives, hostile ones among them."""

from __future__ import annotations

import builtins
import errno
import io
import logging
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.fetch import archives
from polite_flamingo.fetch.archives import unpack
from polite_flamingo.fetch.transfer import DiskFullError

FILES = {"top.json": b"{}", "images/a.jpg": b"jpg", "images/deep/b.jpg": b"more"}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w", *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for other in others:
            tar.addfile(other)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_archive_is_told_by_its_content(tmp_path: Path, out: Path, mode: str) -> None:
    archive = tmp_path / "download"
    made = make_zip(archive, FILES) if mode == "zip" else make_tar(archive, FILES, mode)
    assert unpack(made, out) == ["top.json", "images"]
    assert found(out) == FILES


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\evil"])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, out: Path, make: Any, name: str) -> None:
    archive = make(tmp_path / "evil.archive", {name: b"evil"})
    with pytest.raises(DataError, match="path outside its folder"):
        unpack(archive, out)
    assert found(out) == {}
    assert not (tmp_path / "evil").exists()


def test_links_and_devices_of_a_tar_are_left_out_with_a_warning(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../etc/passwd"
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    archive = make_tar(tmp_path / "a.tar", FILES, "w", link, hard, device)
    with caplog.at_level(logging.WARNING):
        unpack(archive, out)
    assert found(out) == FILES
    assert [name in caplog.text for name in ("link", "hard", "device")] == [True] * 3


def test_a_link_of_a_zip_is_left_out_with_a_warning(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
    with caplog.at_level(logging.WARNING):
        assert unpack(tmp_path / "a.zip", out) == []
    assert "link is a link, left out" in caplog.text


def test_nothing_is_written_through_a_link_that_was_there(tmp_path: Path, out: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (out / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="write through a link"):
        unpack(make_zip(tmp_path / "a.zip", FILES), out)
    assert found(tmp_path / "elsewhere") == {}


def test_a_flood_is_stopped(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALLOWANCE", 1000)
    archive = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(3_000_000)})
    with pytest.raises(DataError, match=r"far more than its size suggests[\s\S]*zeros"):
        unpack(archive, out)
    assert found(out) == {}


def test_the_limit_counts_all_files_together(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": b"12345", "b": b"12345"})
    assert unpack(archive, out, limit=10) == ["a", "b"]
    with pytest.raises(DataError, match="far more"):
        unpack(archive, out, limit=9)


def test_a_flood_of_empty_files_is_stopped(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "EMPTY_FILES", 5)
    assert unpack(make_zip(tmp_path / "a.zip", {f"{n}": b"" for n in range(5)}), out)
    with pytest.raises(DataError, match="more than 5 empty files"):
        unpack(make_zip(tmp_path / "a.zip", {f"{n}": b"" for n in range(6)}), out)


@pytest.mark.parametrize("name", [".fetched.json", "other.json", "x/../.fetched.json", "a.zip.part", "a.part.json"])
def test_an_archive_replaces_no_file_of_others(tmp_path: Path, out: Path, name: str) -> None:
    for kept in (".fetched.json", "other.json"):
        (out / kept).write_bytes(b"ours")
    with pytest.raises(DataError):
        unpack(make_zip(tmp_path / "a.zip", {name: b"theirs"}), out, kept=[out / ".fetched.json", out / "other.json"])
    assert found(out) == {".fetched.json": b"ours", "other.json": b"ours"}


def test_what_a_mac_adds_is_left_out(tmp_path: Path, out: Path) -> None:
    added = {"__MACOSX/a": b"", "images/.DS_Store": b""}
    assert unpack(make_zip(tmp_path / "a.zip", {**FILES, **added}), out) == ["top.json", "images"]
    assert found(out) == FILES


def test_unpacking_again_replaces_files_and_leaves_others(tmp_path: Path, out: Path) -> None:
    (out / "top.json").write_bytes(b"old")
    (out / "mine.txt").write_bytes(b"mine")
    unpack(make_zip(tmp_path / "a.zip", FILES), out)
    assert found(out) == {**FILES, "mine.txt": b"mine"}


@pytest.mark.parametrize("make", [make_zip, lambda path, files: make_tar(path, files, "w:gz")])
def test_a_cut_archive_is_named(tmp_path: Path, out: Path, make: Any) -> None:
    archive = make(tmp_path / "cut.archive", {"a": bytes(range(256)) * 400})
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"archive[\s\S]*cut\.archive[\s\S]*delete it"):
        unpack(archive, out)
    assert found(out) == {}


def test_a_damaged_member_is_named(tmp_path: Path, out: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": b"0123456789" * 1000})
    data = bytearray(archive.read_bytes())
    data[40] ^= 255
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be unpacked[\s\S]*a\.zip"):
        unpack(archive, out)


def test_a_web_page_instead_of_an_archive_is_told(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>Sign in</html>")
    with pytest.raises(DataError, match="neither a zip nor a tar archive"):
        unpack(tmp_path / "a.zip", out)


def test_a_full_disk_is_called_so(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    real = builtins.open

    def full(name: Any, mode: str = "r", **options: Any) -> Any:
        if str(name).endswith(".tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(name, mode, **options)

    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(DiskFullError):
        unpack(archive, out)
