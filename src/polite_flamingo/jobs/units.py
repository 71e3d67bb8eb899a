"""Units of work: a request with a content hash of everything its answer depends on.

The key covers the record (id, instruction, draft, messages, image paths), the bytes of its images, the backend's
identity (weights, prompt form, decoding) and the repair policy. Whatever changes, the key changes with it, so an
answer found in a journal is either exactly the one asked for or is not found at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from polite_flamingo.errors import ImageError
from polite_flamingo.images import open_image, resolve_image
from polite_flamingo.io import hash_file
from polite_flamingo.jobs.backends.base import Request

CHECKED_IMAGES = 4096  # images whose hash and state are remembered at once


@dataclass(frozen=True, slots=True)
class Unit:
    """A request at its place in the input.

    Args:
        index: Place in the input, from 0.
        key: Content hash of everything the answer depends on.
        request: What to answer.
    """

    index: int
    key: str
    request: Request

    @property
    def size(self) -> int:
        """Characters of the prompt's own part: what batches are bucketed by."""
        request = self.request
        if request.messages is not None:
            return sum(len(str(message.get("content", ""))) for message in request.messages)
        return len(request.instruction) + len(request.draft)


class Images:
    """State of the images below a root; each is read once while it stays among the last few thousand.

    Args:
        root: Folder of the image paths.
        threads: Images decoded at the same time.
    """

    def __init__(self, root: Path, threads: int = 2) -> None:
        self._root = root
        self._threads = threads
        self.digest = lru_cache(maxsize=CHECKED_IMAGES)(self._digest)
        self.problem = lru_cache(maxsize=CHECKED_IMAGES)(self._problem)

    def check(self, requests: Sequence[Request]) -> list[str | None]:
        """Reason per request why one of its images cannot be used; None: all can."""
        paths = sorted({path for request in requests for path in request.images})
        if not paths:
            return [None] * len(requests)
        with ThreadPoolExecutor(self._threads) as pool:
            found = dict(zip(paths, pool.map(self.problem, paths), strict=True))
        return [next((found[p] for p in request.images if found[p] is not None), None) for request in requests]

    def _digest(self, path: str) -> str:
        try:
            return hash_file(resolve_image(self._root, path))
        except (OSError, ImageError):
            return "unreadable"

    def _problem(self, path: str) -> str | None:
        try:
            open_image(self._root, path)
        except ImageError as error:
            return f"{error.what}: {path}"
        return None


def units(requests: Iterable[Request], *, images: Images, setting: str) -> Iterator[Unit]:
    """Give every request its place and key.

    Args:
        requests: What to answer, in a fixed order.
        images: Where image bytes are read.
        setting: Backend identity and repair policy, as one text.
    """
    for index, request in enumerate(requests):
        yield Unit(index, unit_key(request, [images.digest(path) for path in request.images], setting), request)


def unit_key(request: Request, image_digests: Sequence[str], setting: str) -> str:
    """Content hash of a request, its images and the settings, 32 hex digits."""
    messages = None if request.messages is None else [dict(message) for message in request.messages]
    content = [request.key, request.instruction, request.draft, messages, list(request.images), list(image_digests)]
    text = json.dumps([content, setting], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
