"""Columns that need no model: words, repetition, leaked boxes; and what they are after paragraphs have been cut.

The paragraph step (section 4.2) cuts the paragraphs of a caption whose ``clip_logit`` is below a threshold. Which ones
go depends on the threshold only through their number, so the text left for any threshold is one of as many as there
are paragraphs, and a column over all of them (``sts_by_cut`` …) lets every threshold be judged without text or model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from polite_flamingo.records import Rewrite

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS_OF_NUMBERS = {word: value for value, word in enumerate(UNITS)} | {word: 10 * t for t, word in enumerate(TENS, 2)}
BREAK = "\n\n"  # between paragraphs
N = 4
# Han, kana, Thai, Lao, Burmese and Khmer, which set no words apart: a character counts as one
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(r"\w+")
_WORD_OR_CHARACTER = re.compile(f"[{SPACELESS}]|(?:(?![{SPACELESS}])\\w)+")
_SPACELESS = re.compile(f"[{SPACELESS}]")
_NUMBER = r"-?\d*\.?\d+"
_BOX = re.compile(rf"[\[(]\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{3}}\s*[\])]?")


def is_unchanged(rewrite: Rewrite) -> bool:
    """Whether a rewrite repeats its raw answer word for word (Table 3's share of unchanged)."""
    return rewrite.rewritten.strip() == rewrite.raw_answer.strip()


def count_words(text: str) -> int:
    """Number of words, separated by white space."""
    return len(text.split())


def count_boxes(text: str) -> int:
    """Number of ``[x1, y1, x2, y2]`` or ``(x1, y1, x2, y2)`` in `text`, closed or cut off."""
    return len(_BOX.findall(text))


def without_boxes(text: str) -> str:
    """`text` without the coordinates that `count_boxes` counts."""
    return _BOX.sub(" ", text)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; characters, where a script sets no words apart."""
    spaced = text.isascii() or _SPACELESS.search(text) is None
    return (_WORD if spaced else _WORD_OR_CHARACTER).findall(text.lower())


def repeated_share(text: str, n: int = N) -> float:
    """Share of the words that lie in an n-gram which has occurred before in the text; 0 for shorter texts.

    Where most of them are characters of a script that sets no words apart, an n-gram has twice as many.
    """
    words = words_of(text)
    if not text.isascii() and 2 * len(_SPACELESS.findall(text)) > len(words):
        n *= 2
    seen: set[tuple[str, ...]] = set()
    repeated = [False] * len(words)
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            repeated[start : start + n] = [True] * n
        seen.add(gram)
    return sum(repeated) / len(words) if words else 0.0


def cut_texts(rewrite: Rewrite, logits: Sequence[float] | None) -> list[str] | None:
    """The text of a caption when none, one, two … of its lowest paragraphs are cut.

    Args:
        rewrite: A record.
        logits: The ``clip_logit`` of each paragraph, as written in the column.

    Returns:
        As many texts as there are paragraphs: number n is left where n paragraphs are below a threshold (number 0 is
        the text as it is). Paragraphs of equal logits go together, so a number that no threshold gives repeats the
        one before it. None where no paragraph can be cut and another be left.
    """
    paragraphs = rewrite.paragraphs
    if not rewrite.task.is_caption or logits is None or len(paragraphs) < 2:
        return None
    texts = [rewrite.rewritten]
    for lowest in sorted(logits)[1:]:
        kept = [p for p, logit in zip(paragraphs, logits, strict=True) if logit >= lowest]
        texts.append(BREAK.join(kept) if len(kept) < len(paragraphs) else rewrite.rewritten)
    return texts


def text_scores(rewrite: Rewrite, texts: Sequence[str] | None) -> dict[str, Any]:
    """The columns of this module; `texts` are the record's `cut_texts`."""
    return {
        "words": count_words(rewrite.rewritten),
        "repeated_share": _share(rewrite.rewritten),
        "boxes": count_boxes(rewrite.rewritten),
        "repeated_share_by_cut": None if texts is None else [_share(text) for text in texts],
        "boxes_by_cut": None if texts is None else [count_boxes(text) for text in texts],
    }


def _share(text: str) -> float:
    return round(repeated_share(text), 4)
