"""The Karpathy form: one JSON file with ``images``, each with its ``sentences``; used by many captioning datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.sources.base import need
from polite_flamingo.sources.forms.files import read_items


def karpathy_images(path: Path) -> Iterator[Any]:
    """Yield the items of ``images`` as they stand in the file, streamed when it is large.

    Raises:
        DataError: not valid JSON, or no such list.
    """
    return read_items(path, "images")


def raw_sentences(record: Any) -> list[str]:
    """The captions of one item: ``sentences[].raw`` with single blanks between words, blank ones left out.

    Raises:
        DataError: no sentence, only blank ones, or one that is not text.
    """
    texts = []
    for sentence in need(record, "sentences", list):
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(raw, str):
            raise DataError("a sentence has no text 'raw'", value=sentence)
        texts.append(" ".join(raw.split()))
    texts = [text for text in texts if text]
    if not texts:
        raise DataError("image has no caption", value=record.get("filename"))
    return texts
