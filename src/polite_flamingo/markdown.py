"""Text of the data in pages of Markdown: shown as it is, and nothing else.

Markdown is written for people and for sites that render it (the hub, MLflow, Prefect, GitHub). An answer, an id or a
file name must be no table, no link, no image, no HTML there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from polite_flamingo.errors import printable

_ACTIVE = re.compile(
    r"[\\`*\[\]<|~$]"  # code, emphasis, links, HTML, cells, formulas
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis again; a single one within a word is none
    r"|&(?=#?\w+;)"
    r"|(?<=\w):(?=//)|(?<=www)\.|(?<=\w)@(?=\w)"  # addresses that are links by themselves
    r"|^(?:#|>|[-+=](?=[\s=-]|$))"  # headings, quotes, lists, rules
)
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escaped(text: object) -> str:
    """A text as one line of Markdown that reads as the text does."""
    line = " ".join(printable(str(text)).split())
    return _NUMBERED.sub(r"\1\\\2", _ACTIVE.sub(lambda found: f"\\{found[0]}", line))


def code(text: object) -> str:
    """A text as code in a line; a backtick would end it and is left out."""
    line = " ".join(printable(str(text)).split()).replace("`", "").replace("|", "\\|")
    return f"`{line or ' '}`"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table of escaped cells."""
    lines = [[escaped(cell) for cell in header], ["---"] * len(header), *([escaped(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
