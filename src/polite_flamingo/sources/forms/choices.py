"""Questions with choices, asked in one sentence."""

from __future__ import annotations

from collections.abc import Sequence


def with_choices(question: str, choices: Sequence[str]) -> str:
    """``Question? a, b, or c?``, the form of A-OKVQA's questions here."""
    return f"{question} {', '.join(choices[:-1])}, or {choices[-1]}?"
