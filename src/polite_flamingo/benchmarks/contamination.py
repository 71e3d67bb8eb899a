"""What a model may have seen in training: images by name, bytes and likeness, questions by their words.

Names of images are compared as numbers of COCO where they are such (``COCO_val2014_000000000042.jpg`` and
``train2017/000000000042.jpg`` are one picture). Questions count where words and image are the same; long texts where
their MinHash signatures nearly agree, whatever the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polite_flamingo.benchmarks.items import BenchmarkItem, QuestionSet, bare, canonical
from polite_flamingo.benchmarks.records import Broken, read_pairs
from polite_flamingo.doctor.similar import near_pairs, perceptual_hash
from polite_flamingo.doctor.survey import list_images
from polite_flamingo.errors import DataError, ImageError
from polite_flamingo.images import open_image
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.scorers.likeness import VALUES, signatures

LONG = 8  # words from which a text is told from others by its words alone
ALIKE = 0.8  # share of equal values of two signatures
BAND = 4
NAME, BYTES, NEAR, QUESTION, TEXT = "image by name", "image by bytes", "image nearly", "question", "text nearly"
PICTURED = ("image", "image_id", "image_path", "img_id", "imageId")
WORDED = ("question", "instruction", "caption", "rewritten", "raw_answer", "output", "text", "answer")


@dataclass(slots=True)
class Seen:
    """What training data holds.

    Attributes:
        images: Names, as numbers where they are COCO's.
        questions: Image and words of a question.
        texts: Long texts.
        records: Read.
    """

    images: set[str] = field(default_factory=set)
    questions: set[tuple[str, str]] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    records: int = 0

    def add(self, images: Sequence[str], texts: Sequence[str]) -> None:
        """Take a record.

        Args:
            images: Names of its images.
            texts: Its questions and answers.
        """
        self.records += 1
        names = [canonical(image) for image in images]
        self.images.update(names)
        for text in texts:
            words = bare(text)
            asked = {words, *map(bare, text.splitlines())} - {
                ""
            }  # instructions and OCR tokens stand in lines of their own
            self.questions.update((name, one) for name in names for one in asked)
            if len(words.split()) >= LONG:
                self.texts.add(words)


def read_training(paths: Iterable[Path]) -> Seen:
    """What training files hold: shards of samples or of PF-1M, LLaVA's conversations, any records with image and text.

    Args:
        paths: Files, or folders of shards.

    Raises:
        DataError: a file cannot be read, or no record has a text.
    """
    seen = Seen()
    for path in paths:
        before = seen.records
        for _, record in read_pairs(path, Broken()):
            if isinstance(record, Mapping):
                images, texts = _content(record)
                if images or texts:
                    seen.add(images, texts)
        if seen.records == before:
            raise DataError(
                "no training records of a known form", where=path, next_step="give shards, or JSON with image and text"
            )
    return seen


def find_seen(sets: Sequence[QuestionSet], seen: Seen) -> dict[str, dict[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Which items were seen by name of image, question or text.

    Args:
        sets: What is asked.
        seen: What was trained on.

    Returns:
        Set -> way -> one truth value an item.
    """
    long = sorted(seen.texts)
    known = _bands(long)
    found = {}
    for own in sets:
        keys = [canonical(item.image) for item in own.items]
        words = [{bare(item.question), bare(item.question.split("\n")[0])} - {""} for item in own.items]
        found[own.name] = {
            NAME: np.array(
                [bool(item.image) and key in seen.images for key, item in zip(keys, own.items, strict=True)]
            ),
            QUESTION: np.array(
                [any((key, one) in seen.questions for one in own) for key, own in zip(keys, words, strict=True)]
            ),
            TEXT: _near_texts(own.items, known),
        }
    return found


def find_images(
    sets: Sequence[QuestionSet], images: Path, trained: Path
) -> dict[str, dict[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Which items show a picture of the training, by its bytes or nearly.

    Args:
        sets: What is asked.
        images: Folder of their images, found by name anywhere below it.
        trained: Folder of the training's images.
    """
    root = images.resolve()
    places = {canonical(path): path for path in list_images(root)}
    wanted = sorted({key for own in sets for item in own.items if (key := canonical(item.image)) in places})
    ours = {key: _hashes(root, places[key]) for key in wanted}
    theirs = [_hashes(trained.resolve(), path) for path in list_images(trained.resolve())]
    digests = {digest for digest, _ in theirs}
    close = _close({value for _, value in ours.values() if value is not None}, {v for _, v in theirs if v is not None})
    same = {key for key, (digest, _) in ours.items() if digest in digests}
    near = {key for key, (_, value) in ours.items() if value in close}
    return {
        own.name: {
            way: np.array([canonical(item.image) in keys for item in own.items])
            for way, keys in ((BYTES, same), (NEAR, near))
        }
        for own in sets
    }


def _content(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Images and texts of a training record, of whatever form."""
    images = [str(record[key]) for key in PICTURED if isinstance(record.get(key), str | int)]
    stored = record.get("images")
    if isinstance(stored, str) and stored.startswith("["):
        stored = json.loads(stored)
    if isinstance(stored, list):
        images += [str(one["path"] if isinstance(one, Mapping) else one) for one in stored]
    turns = record.get("turns") or record.get("conversations") or []
    if isinstance(turns, str):
        turns = json.loads(turns)
    texts = [str(turn.get("text") or turn.get("value") or "") for turn in turns if isinstance(turn, Mapping)]
    texts += [record[key] for key in WORDED if isinstance(record.get(key), str)]
    if isinstance(record.get("captions"), list):
        texts += [str(text) for text in record["captions"]]
    return images, [text for text in texts if text]


def _bands(texts: Sequence[str]) -> dict[bytes, np.ndarray[Any, Any]]:
    """Signature of the first text of each band."""
    table: dict[bytes, np.ndarray[Any, Any]] = {}
    for signature in signatures(texts):
        values = np.frombuffer(signature, dtype="<u2")
        for start in range(0, VALUES, BAND):
            table.setdefault(bytes([start]) + values[start : start + BAND].tobytes(), values)
    return table


def _near_texts(items: Sequence[BenchmarkItem], known: Mapping[bytes, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a long question or annotated text of an item is nearly one of the training."""
    texts = [[t for t in map(bare, (item.question, *item.answers)) if len(t.split()) >= LONG] for item in items]
    found = np.zeros(len(items), dtype=bool)
    owners = [i for i, own in enumerate(texts) for _ in own]
    for i, signature in zip(owners, signatures([text for own in texts for text in own]), strict=True):
        found[i] |= _near(signature, known)
    return found


def _near(signature: bytes, known: Mapping[bytes, Any]) -> bool:
    values = np.frombuffer(signature, dtype="<u2")
    for start in range(0, VALUES, BAND):
        other = known.get(bytes([start]) + values[start : start + BAND].tobytes())
        if other is not None and float((other == values).mean()) >= ALIKE:
            return True
    return False


def _hashes(root: Path, path: str) -> tuple[str, int | None]:
    try:
        return hash_file(root / path), perceptual_hash(open_image(root, path))
    except (ImageError, OSError):
        return f"unreadable:{path}", None


def _close(ours: set[int], theirs: set[int]) -> set[int]:
    """Our hashes that are equal or near to one of theirs."""
    both = np.array(sorted(ours | theirs), dtype=np.uint64)
    pairs = near_pairs(both).tolist() if len(both) > 1 else []
    values = both.tolist()
    found = ours & theirs
    for first, second, _ in pairs:
        for one, other in ((values[first], values[second]), (values[second], values[first])):
            if one in ours and other in theirs:
                found.add(one)
    return found
