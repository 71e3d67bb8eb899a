"""Units of work: a question with a content hash of everything its answer depends on.

The key covers the question (key, content, image paths), the bytes of its images and the backend's identity (weights,
decoding, repair). Whatever changes, the key changes with it, so an answer found in a journal is either exactly the one
in question or is not found at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic

from polite_flamingo.errors import ImageError
from polite_flamingo.images import open_image, resolve_image
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.jobs.questions import Q, Question

CHECKED_IMAGES = 4096  # images whose hash and state are remembered at once


@dataclass(frozen=True, slots=True)
class Unit(Generic[Q]):
    """A question at its position in the input.

    Args:
        index: Position in the input, from 0.
        key: Content hash of everything the answer depends on.
        question: What to answer.
    """

    index: int
    key: str
    question: Q


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

    def check(self, questions: Sequence[Question]) -> list[str | None]:
        """Reason per question why one of its images cannot be used; None: all can."""
        paths = sorted({path for question in questions for path in question.images})
        if not paths:
            return [None] * len(questions)
        with ThreadPoolExecutor(self._threads) as pool:
            problems = dict(zip(paths, pool.map(self.problem, paths), strict=True))
        return [next((problems[p] for p in q.images if problems[p] is not None), None) for q in questions]

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


def units(
    questions: Iterable[tuple[Q, Sequence[int]]], *, images: Images, identity: str, start: int = 0
) -> Iterator[tuple[Unit[Q], Sequence[int]]]:
    """Give every question its position and key; what comes with it goes along.

    Args:
        questions: What to answer, in a fixed order, each with the place behind it.
        images: Where image bytes are read.
        identity: The backend's.
        start: Position of the first.
    """
    for index, (question, place) in enumerate(questions, start):
        digests = [images.digest(path) for path in question.images]
        yield Unit(index, unit_key(question, digests, identity), question), place


def unit_key(question: Question, image_digests: Sequence[str], identity: str) -> str:
    """Content hash of a question, its images and the backend, 32 hex digits."""
    content = [question.key, question.content(), list(question.images), list(image_digests), identity]
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
