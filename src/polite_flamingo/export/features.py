"""Columns of an export's files, as a card's head states them: the Hugging Face library would else guess from the first
records, in which a column may happen to be empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from polite_flamingo.sources.forms.conversations import ATTRIBUTES

Suffixes: TypeAlias = Iterable[tuple[str, ...]]  # of the images of the records
Features: TypeAlias = list[dict[str, Any]]


def texts(*names: str) -> Features:
    """Columns of text."""
    return [{"name": name, "dtype": "string"} for name in names]


_TURNS = {"name": "conversations", "list": texts("from", "value")}
_IMAGES = {"name": "images", "sequence": "string"}
_OWN = texts(*ATTRIBUTES)


def llava(suffixes: Suffixes) -> Features | None:
    """Of LLaVA's form; None where some records have a path and others a list of them."""
    if any(len(of_one) > 1 for of_one in suffixes):
        return None
    return [*texts("id", "image"), _TURNS, *_OWN]


def sharegpt(_: Suffixes) -> Features:
    """Of ShareGPT's form."""
    return [*texts("id"), _TURNS, _IMAGES, *_OWN]


def datajuicer(_: Suffixes) -> Features:
    """Of Data-Juicer's form."""
    return [*texts("id", "text"), _IMAGES, *_OWN]


def swift(_: Suffixes) -> Features:
    """Of messages with markers."""
    return [*texts("id"), {"name": "messages", "list": texts("role", "content")}, _IMAGES, *_OWN]


def axolotl(_: Suffixes) -> Features:
    """Of messages of parts with paths."""
    content = {"name": "content", "list": texts("type", "path", "text")}
    return [*texts("id"), {"name": "messages", "list": [*texts("role"), content]}, *_OWN]


def webdataset(suffixes: Suffixes) -> Features:
    """Of the members of tar files: an image column for every name that an image has in some record."""
    names: set[str] = set()
    for of_one in suffixes:
        names.update(of_one if len(of_one) == 1 else (f"{index}.{suffix}" for index, suffix in enumerate(of_one)))
    images = [{"name": name, "dtype": "image"} for name in sorted(names)]
    return [*texts("__key__", "__url__"), {"name": "json", "struct": sharegpt(())}, *texts("txt"), *images]
