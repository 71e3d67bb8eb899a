"""Columns of a table as items, whichever library the table comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polite_flamingo.errors import DataError

CHUNK = 64  # items of an iterator that are read ahead


def rows_of(batch: Any, needed: Sequence[str], optional: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a `pandas.DataFrame`, or of a mapping of columns to lists as ``Dataset.map(batched=True)`` gives it.

    Args:
        batch: The table.
        needed: Columns that it must have.
        optional: Columns that are taken where it has them; ``images`` becomes a list of images.

    Raises:
        DataError: a column is missing.
    """
    for name in needed:
        if name not in batch:
            raise DataError(
                "the table lacks a column",
                value=name,
                where=list(batch.keys()),
                next_step=f"rename yours to {' and '.join(needed)}",
            )
    given = {name: list(batch[name]) for name in (*needed, *optional) if name in batch}
    return (_with_images(dict(zip(given, row, strict=True))) for row in zip(*given.values(), strict=True))


def with_columns(batch: Any, columns: Mapping[str, list[Any]]) -> Any:
    """A new DataFrame with more columns; of another table the new columns alone, as `datasets` wants them."""
    return batch.assign(**columns) if hasattr(batch, "assign") else dict(columns)


def _with_images(item: dict[str, Any]) -> dict[str, Any]:
    """An item whose images are a list: tables hold one alone, none, or what `datasets` makes of an image."""
    given: Any = item.get("images")
    several = list(given) if hasattr(given, "__iter__") and not isinstance(given, str | bytes | dict) else [given]
    images = [_embedded(image) for image in several if image is not None and image == image]  # NaN: none
    return {**item, "images": images}


def _embedded(image: Any) -> Any:
    return (image.get("bytes") or image.get("path") or b"") if isinstance(image, dict) else image
