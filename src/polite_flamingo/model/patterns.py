r"""Regular expressions of a tokenizer, of which some need longer than anybody's life for a short text.

The library that runs them goes back and tries again without an end: ``(a+)+$`` takes twice as long for every letter.
Refused is a repetition without a bound of what itself repeats without one or has alternatives, a reference back to a
group, and a long row of repetitions; no published tokenizer has any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
MOST = 8  # repetitions without a bound between two alternatives
LONGEST = 5000  # characters of a pattern
_ENDLESS = re.compile(r"[*+]|\{\d*,\}")
_TIMES = re.compile(r"\{(?:\d*,)?(\d+)\}")
_PIECE = re.compile(
    r"\\k<|\\[1-9]"  # a reference
    r"|\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]"  # what stands for a character
    r"|\((?:\?(?:[a-zA-Z-]*:|[=!>]|<[=!]|<\w+>|[a-zA-Z-]+\)))?|\)|\||[*+]|\{\d*,?\d*\}|.",
    re.DOTALL,
)


def patterns_of(tokenizer: Any) -> Iterator[str]:
    """The regular expressions of a ``tokenizer.json``."""
    waiting = [tokenizer.get(step) for step in STEPS] if isinstance(tokenizer, dict) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
            if isinstance(value.get("Regex"), str):
                yield value["Regex"]
        elif isinstance(value, list):
            waiting += value


def is_endless(pattern: str) -> bool:
    """Whether a pattern may go back and try again beyond measure."""
    if len(pattern) > LONGEST:
        return True
    groups: list[tuple[int, bool]] = []  # those that are open: repetitions before them, whether one has alternatives
    repetitions, choice, closed, inside = 0, False, False, (0, False)
    for found in _PIECE.finditer(pattern):
        piece = found[0]
        if piece.startswith(("\\k<", *(f"\\{n}" for n in range(1, 10)))):
            return True
        if piece.startswith("(") and not piece.endswith(")"):
            groups.append((repetitions, choice))
            repetitions, choice = 0, False
        elif piece == ")" and groups:
            inside = (repetitions, choice)
            repetitions, choice = groups[-1][0] + repetitions, groups.pop()[1] or choice
        elif piece == "|":
            repetitions, choice = 0 if not groups else repetitions, True
        elif _ENDLESS.fullmatch(piece):
            if closed and (inside[0] or inside[1]):
                return True
            repetitions += 1
        elif closed and inside[0] and (times := _TIMES.fullmatch(piece)):
            repetitions += inside[0] * (int(times[1]) - 1)
        if repetitions > MOST:
            return True
        closed = piece == ")"
    return False
