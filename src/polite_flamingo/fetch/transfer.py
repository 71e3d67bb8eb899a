"""One file over HTTP: resumed where it was cut, checked against what was published, complete or absent.

Bytes go to ``<name>.part``; beside it ``<name>.part.json`` holds what identifies the version on the server. The next
attempt asks for the rest with ``Range`` and ``If-Range``, so that a file that changed meanwhile is sent anew in full.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo import __version__
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.sources.registry import RemoteFile

if TYPE_CHECKING:
    import httpx

BLOCK = 1 << 20  # bytes read at once
ATTEMPTS = 6  # per file and call; each goes on where the last one was cut
LONGEST_WAIT = 60.0  # seconds between two attempts
PERMANENT = frozenset({400, 401, 403, 404, 405, 406, 410, 451})
Advance = Callable[[int], Any]


class DiskFullError(DataError):
    """There is no room left; nothing else can be fetched either."""

    def __init__(self, where: Path) -> None:
        super().__init__("disk is full", where=where, next_step="free some space, then run the same command again")


class CutOffError(DataError):
    """A transfer keeps breaking off; the next one goes on where it was."""


class PublishedError(DataError):
    """A file is not the one that was published."""

    def __init__(self, what: str, actual: object, published: object, *, where: object) -> None:
        super().__init__(
            f"file has another {what} than the published one",
            value=f"{actual} instead of {published}",
            where=where,
            next_step="fetch it again; if it stays so, the release has changed: report it",
        )


class _CutError(Exception):
    """The transfer broke off; trying again may help."""


def open_client() -> httpx.Client:
    """A client that follows redirects, does not hang and says who it is."""
    import httpx

    headers = {"User-Agent": f"polite-flamingo/{__version__}", "Accept-Encoding": "identity"}
    return httpx.Client(follow_redirects=True, timeout=httpx.Timeout(60.0, connect=30.0), headers=headers)


def find_size(client: httpx.Client, remote: RemoteFile) -> int | None:
    """Size in bytes: as published, else as the server says when asked, else None."""
    import httpx

    if remote.bytes is not None:
        return remote.bytes
    try:
        answer = client.head(remote.url)
    except httpx.HTTPError:
        return None
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.is_success and length.isdigit() else None


def part_of(target: Path) -> Path:
    """Where the bytes of an unfinished `target` lie."""
    return target.with_name(f"{target.name}.part")


def transfer(
    client: httpx.Client, remote: RemoteFile, target: Path, *, advance: Advance = lambda _: None, patience: float = 1.0
) -> dict[str, Any]:
    """Get `remote` into `target`, which is complete and checked when it appears.

    Args:
        client: See `open_client`.
        remote: What to get.
        target: Where to; its folder is made if need be.
        advance: Called with the change in bytes at hand (negative when it starts over).
        patience: Seconds before the second attempt; doubles with each.

    Returns:
        ``bytes`` and ``sha256`` of the file.

    Raises:
        DataError: the server has no such file or keeps breaking off (`CutOffError`), the disk is full
            (`DiskFullError`), or the file is not the published one (`PublishedError`, it is removed then).
    """
    import httpx
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    part = part_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=patience, max=LONGEST_WAIT),
        retry=retry_if_exception_type((_CutError, httpx.NetworkError, httpx.TimeoutException, httpx.ProtocolError)),
    )
    try:
        retrying(_attempt, client, remote, part, advance)
        facts = check_file(remote, part)
        os.replace(part, target)
    except RetryError as error:
        raise CutOffError(
            "download keeps breaking off",
            value=str(error.last_attempt.exception()),
            where=remote.url,
            next_step="run the same command later, it goes on where it was",
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError("address cannot be used", value=remote.url, next_step=str(error)) from None
    except PublishedError:
        _drop(part, advance)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(target) from error
    _notes(part).unlink(missing_ok=True)
    return facts


def check_file(remote: RemoteFile, path: Path) -> dict[str, Any]:
    """Compare a file with what was published of it; return its ``bytes`` and ``sha256``.

    Raises:
        PublishedError: another size or checksum.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            sha256.update(block)
            md5.update(block)
    size = path.stat().st_size
    checks = {
        "size": (size, remote.bytes),
        "sha256": (sha256.hexdigest(), remote.sha256),
        "md5": (md5.hexdigest(), remote.md5),
    }
    for what, (actual, published) in checks.items():
        if published is not None and str(actual) != str(published).lower():
            raise PublishedError(what, actual, published, where=path)
    return {"bytes": size, "sha256": sha256.hexdigest()}


def _attempt(client: httpx.Client, remote: RemoteFile, part: Path, advance: Advance) -> None:
    size = part.stat().st_size if part.exists() else 0
    validator = _validator(remote, part) if size else None
    headers = {}
    if validator is not None:
        headers = {"Range": f"bytes={size}-", **({"If-Range": validator} if validator else {})}
    with client.stream("GET", remote.url, headers=headers) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{size}":
            return  # nothing was lacking but the check
        if answer.status_code == 416:
            _drop(part, advance)
            raise _CutError("the server does not have the range that is lacking")
        _require_success(answer, remote)
        resumed = answer.status_code == 206
        if resumed and not re.match(rf"bytes {size}-", answer.headers.get("Content-Range", "")):
            _drop(part, advance)
            raise _CutError("the server sent another range than it was asked for")
        length = answer.headers.get("Content-Length", "")
        if remote.bytes is not None and length.isdigit() and int(length) + (size if resumed else 0) != remote.bytes:
            raise PublishedError("size", int(length) + (size if resumed else 0), remote.bytes, where=remote.url)
        if not resumed:
            advance(-size)
            write_json(_notes(part), {"url": remote.url, "validator": _validator_of(answer)})
        with open(part, "ab" if resumed else "wb") as file:
            for block in answer.iter_raw():
                file.write(block)
                advance(len(block))
                if remote.bytes is not None and file.tell() > remote.bytes:
                    raise PublishedError("size", f"more than {remote.bytes}", remote.bytes, where=remote.url)
            file.flush()
            os.fsync(file.fileno())
    if remote.bytes is not None and part.stat().st_size < remote.bytes:
        raise _CutError(f"{part.stat().st_size} of {remote.bytes} bytes came")


def _require_success(answer: httpx.Response, remote: RemoteFile) -> None:
    code = answer.status_code
    if code in PERMANENT:
        raise DataError(
            f"the server answers {code} {answer.reason_phrase}",
            value=remote.url,
            next_step="see the dataset's home page for its present location, or report the address",
        )
    if code not in (200, 206):
        raise _CutError(f"the server answers {code} {answer.reason_phrase}")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DataError("the server sends the file compressed", value=encoding, where=remote.url)


def _validator(remote: RemoteFile, part: Path) -> str | None:
    """What to send as ``If-Range``; "" where a checksum will tell instead, None where resuming is not safe."""
    try:
        notes = read_json(_notes(part))
    except DataError:  # none, or damaged: the file is fetched anew
        return None
    if not isinstance(notes, dict) or notes.get("url") != remote.url:
        return None
    validator = notes.get("validator")
    return (validator if isinstance(validator, str) else "") or ("" if remote.md5 or remote.sha256 else None)


def _validator_of(answer: httpx.Response) -> str:
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")  # a weak ETag identifies no bytes


def _drop(part: Path, advance: Advance) -> None:
    if part.exists():
        advance(-part.stat().st_size)
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
