"""Pages that people write and commands fill: what stands between two marks is written anew, the rest is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import write_atomic


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Put every part between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` of a page, all of them or none.

    Args:
        page: A Markdown file.
        parts: Name of the marks -> Markdown.

    Raises:
        DataError: the page, or a mark of it, is missing.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError("page does not exist", where=page, next_step="name a page with the marks") from None
    for name, part in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended or begin in rest or end in after:
            raise DataError(
                "page lacks the marks", value=name, where=page, next_step=f"put {begin} and {end} once each"
            )
        text = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    write_atomic(page, text.encode())
