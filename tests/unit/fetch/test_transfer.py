"""One file over HTTP, from a real server: cut lines, changed files, full disks."""

from __future__ import annotations

import builtins
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import IO, Any

import httpx
import pytest
from tests.unit.fetch.server import Served, Site

from polite_flamingo.errors import DataError
from polite_flamingo.fetch.transfer import ATTEMPTS, DiskFullError, PublishedError, find_size, open_client, transfer
from polite_flamingo.sources.registry import RemoteFile

DATA = Random("bytes").randbytes(300_000)
HALF = 150_000


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "root" / "set" / "a.bin"


def get(client: httpx.Client, site: Site, target: Path, **published: Any) -> dict[str, Any]:
    return transfer(client, RemoteFile(url=site.url("a.bin"), to="a.bin", **published), target, patience=0.01)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def give_up(client: httpx.Client, site: Site, target: Path, **published: Any) -> None:
    """A first call whose every attempt is cut after some bytes."""
    site.files["a.bin"].cut_after = [HALF, *[0] * (ATTEMPTS - 1)]
    with pytest.raises(DataError, match="keeps breaking off"):
        get(client, site, target, **published)
    assert left(target) == ["a.bin.part", "a.bin.part.json"]
    assert target.with_name("a.bin.part").read_bytes() == DATA[:HALF]
    site.requests.clear()


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    facts = get(client, site, target)
    assert target.read_bytes() == DATA
    assert left(target) == ["a.bin"]
    assert facts == {"bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}


def test_a_cut_line_is_taken_up_within_the_same_call(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA, cut_after=[HALF, 50_000])
    get(client, site, target)
    assert target.read_bytes() == DATA
    assert site.gets("a.bin") == [(None, 200), (f"bytes={HALF}-", 206), ("bytes=200000-", 206)]


def test_a_later_call_goes_on_where_the_first_was_cut(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    give_up(client, site, target)
    get(client, site, target)
    assert target.read_bytes() == DATA
    assert site.gets("a.bin") == [(f"bytes={HALF}-", 206)]


def test_a_file_that_changed_on_the_server_is_fetched_anew(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    give_up(client, site, target)
    site.files["a.bin"] = Served(DATA[::-1], etag='"two"')
    get(client, site, target)
    assert target.read_bytes() == DATA[::-1]
    assert site.gets("a.bin") == [(f"bytes={HALF}-", 200)]


def test_a_server_without_range_sends_everything_again(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA, ranges=False, cut_after=[HALF])
    get(client, site, target)
    assert target.read_bytes() == DATA
    assert [status for _, status in site.gets("a.bin")] == [200, 200]


def test_a_file_without_etag_or_checksum_is_never_pieced_together(
    client: httpx.Client, site: Site, target: Path
) -> None:
    site.files["a.bin"] = Served(DATA, etag=None, cut_after=[HALF])
    get(client, site, target)
    assert site.gets("a.bin") == [(None, 200), (None, 200)]


def test_a_weak_etag_does_not_count(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA, etag='W/"one"', cut_after=[HALF])
    get(client, site, target)
    assert site.gets("a.bin") == [(None, 200), (None, 200)]


def test_a_published_checksum_allows_to_resume_without_etag(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA, etag=None, cut_after=[HALF])
    get(client, site, target, md5=hashlib.md5(DATA).hexdigest())
    assert target.read_bytes() == DATA
    assert site.gets("a.bin") == [(None, 200), (f"bytes={HALF}-", 206)]


def test_the_part_of_another_address_is_not_used(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    give_up(client, site, target)
    site.files["b.bin"] = Served(DATA[::-1])
    transfer(client, RemoteFile(url=site.url("b.bin"), to="a.bin"), target)
    assert target.read_bytes() == DATA[::-1]


def test_a_part_that_lacks_nothing_is_only_checked(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    give_up(client, site, target)
    target.with_name("a.bin.part").write_bytes(DATA)
    get(client, site, target)
    assert site.gets("a.bin") == [(f"bytes={len(DATA)}-", 416)]
    assert target.read_bytes() == DATA


def test_a_part_longer_than_the_file_is_thrown_away(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA)
    give_up(client, site, target)
    target.with_name("a.bin.part").write_bytes(DATA * 2)
    get(client, site, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_checksum_names_both_and_keeps_nothing(
    client: httpx.Client, site: Site, target: Path, kind: str
) -> None:
    site.files["a.bin"] = Served(DATA)
    wrong = hashlib.new(kind, b"another file").hexdigest()
    with pytest.raises(PublishedError, match=rf"another {kind}[\s\S]*instead of {wrong}"):
        get(client, site, target, **{kind: wrong})
    assert left(target) == []


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_the_right_checksum_may_be_written_in_capitals(
    client: httpx.Client, site: Site, target: Path, kind: str
) -> None:
    site.files["a.bin"] = Served(DATA)
    get(client, site, target, **{kind: hashlib.new(kind, DATA).hexdigest().upper()})
    assert target.exists()


def test_another_size_than_published_is_seen_before_anything_is_fetched(
    client: httpx.Client, site: Site, target: Path
) -> None:
    site.files["a.bin"] = Served(DATA)
    with pytest.raises(PublishedError, match=r"another size[\s\S]*300000 instead of 299999"):
        get(client, site, target, bytes=299_999)
    assert left(target) == []


def test_a_longer_file_than_published_is_cut_off_where_the_server_tells_no_length(tmp_path: Path) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 300:
            sent += 1
            yield bytes(1 << 16)

    serve = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    with httpx.Client(transport=serve) as client, pytest.raises(PublishedError, match="size"):
        transfer(client, RemoteFile(url="http://x/a.bin", to="a.bin", bytes=5), tmp_path / "a.bin")
    assert sent < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("notes", ["[]", "5", "{", '{"url": 5}', '{"url": "U", "validator": [1]}'])
def test_odd_notes_beside_a_part_cost_the_part_alone(
    client: httpx.Client, site: Site, target: Path, notes: str
) -> None:
    site.files["a.bin"] = Served(DATA)
    target.parent.mkdir(parents=True)
    target.with_name("a.bin.part").write_bytes(DATA[:HALF])
    target.with_name("a.bin.part.json").write_text(notes.replace("U", site.url("a.bin")))
    get(client, site, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_gone_is_an_error_at_once(client: httpx.Client, site: Site, target: Path, status: int) -> None:
    site.files["a.bin"] = Served(DATA, status=[status] * 9)
    with pytest.raises(DataError, match=rf"answers {status}[\s\S]*a\.bin[\s\S]*home page"):
        get(client, site, target)
    assert len(site.gets("a.bin")) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(client: httpx.Client, site: Site, target: Path, status: int) -> None:
    site.files["a.bin"] = Served(DATA, status=[status, status])
    get(client, site, target)
    assert target.read_bytes() == DATA


def test_a_server_that_is_not_there_is_told_after_the_last_attempt(client: httpx.Client, tmp_path: Path) -> None:
    remote = RemoteFile(url="http://127.0.0.1:9/a.bin", to="a.bin")
    with pytest.raises(DataError, match=r"keeps breaking off[\s\S]*127\.0\.0\.1:9"):
        transfer(client, remote, tmp_path / "a.bin", patience=0.01)


def test_an_address_of_another_kind_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"address cannot be used[\s\S]*file:///etc/hostname"):
        transfer(client, RemoteFile(url="file:///etc/hostname", to="a"), tmp_path / "a", patience=0.01)


def test_a_full_disk_is_told_and_the_next_call_goes_on(
    client: httpx.Client, site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["a.bin"] = Served(DATA)

    class Full:
        """A file on a disk with room for `HALF` bytes more."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file, self.room = file, HALF

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    real = builtins.open

    def full_open(name: Any, mode: str = "r", **options: Any) -> Any:
        file = real(name, mode, **options)
        return Full(file) if str(name).endswith(".part") and mode in ("ab", "wb") else file

    monkeypatch.setattr(builtins, "open", full_open)
    with pytest.raises(DiskFullError, match=r"disk is full[\s\S]*a\.bin[\s\S]*free some space"):
        get(client, site, target)
    monkeypatch.setattr(builtins, "open", real)
    kept = target.with_name("a.bin.part").stat().st_size
    assert 0 < kept <= HALF
    site.requests.clear()
    get(client, site, target)
    assert target.read_bytes() == DATA
    assert site.gets("a.bin") == [(f"bytes={kept}-", 206)]


def test_another_error_of_the_disk_is_not_called_full(
    client: httpx.Client, site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["a.bin"] = Served(DATA)
    target.parent.mkdir(parents=True)
    target.with_name("a.bin.part").mkdir()
    with pytest.raises(IsADirectoryError):
        get(client, site, target)


def test_a_file_compressed_on_the_way_is_refused(client: httpx.Client, site: Site, target: Path) -> None:
    site.files["a.bin"] = Served(DATA, headers={"Content-Encoding": "gzip"})
    with pytest.raises(DataError, match="sends the file compressed"):
        get(client, site, target)


def test_progress_counts_every_byte_once_however_often_it_starts_over(
    client: httpx.Client, site: Site, target: Path
) -> None:
    site.files["a.bin"] = Served(DATA, ranges=False, cut_after=[HALF, 20_000])
    steps: list[int] = []
    remote = RemoteFile(url=site.url("a.bin"), to="a.bin")
    transfer(client, remote, target, advance=steps.append, patience=0.01)
    assert sum(steps) == len(DATA)


def test_the_size_is_asked_of_the_server_unless_it_was_published(client: httpx.Client, site: Site) -> None:
    site.files["a.bin"] = Served(DATA)
    site.files["b.bin"] = Served(DATA, head=False)
    assert find_size(client, RemoteFile(url=site.url("a.bin"), to="a")) == len(DATA)
    assert find_size(client, RemoteFile(url=site.url("b.bin"), to="b")) is None
    assert find_size(client, RemoteFile(url=site.url("gone"), to="c")) is None
    assert find_size(client, RemoteFile(url=site.url("gone"), to="c", bytes=7)) == 7
