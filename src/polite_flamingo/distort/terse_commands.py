"""What each of the 24 commands does to a terse draft, where no language model carries it out.

Mechanical commands (case, punctuation, order, repetition …) are exact. Those that ask for invention (synonyms,
verbosity, metaphors …) use small fixed tables.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from polite_flamingo.distort.text_noise import char_noise, word_noise
from polite_flamingo.prompts.commands import COMMANDS


@dataclass(frozen=True, slots=True)
class Material:
    """What a command may work on."""

    draft: str
    answer: str
    sentences: Sequence[str]
    words: Sequence[str]
    rng: Random

    @property
    def draft_sentences(self) -> list[str]:
        """The draft cut at full stops and line breaks."""
        return [s for s in re.split(r"(?<=[.!?])\s+|\n+", self.draft) if s.strip()]


def carry_out(
    command: str, draft: str, *, answer: str, sentences: Sequence[str], words: Sequence[str], rng: Random
) -> str:
    """Apply `command` to `draft`.

    Args:
        command: One of `COMMANDS`.
        draft: The terse draft.
        answer: The shortest possible answer.
        sentences: Informative sentences of the response.
        words: Key words of the response.
        rng: Source of every draw.
    """
    return _ACTIONS[command](Material(draft, answer, sentences, words, rng)).strip() or draft


def _replace_words(text: str, table: dict[str, str]) -> str:
    def swap(match: re.Match[str]) -> str:
        new = table.get(match[0].lower())
        return match[0] if new is None else new

    return re.sub(r"[\w']+", swap, text)


def _bare_lower(m: Material) -> str:
    return m.draft.translate(str.maketrans("", "", string.punctuation)).lower()


def _typos(m: Material) -> str:
    return char_noise(m.draft, m.rng.choice(("insert", "substitute", "swap", "delete")), 0.1, 0.15, m.rng)


def _bad_grammar(m: Material) -> str:
    table = {
        "is": "are",
        "are": "is",
        "was": "were",
        "were": "was",
        "has": "have",
        "have": "has",
        "an": "a",
        "there": "their",
    }
    return re.sub(r"\bthe\s+", "", _replace_words(m.draft, table), flags=re.IGNORECASE)


def _holes(m: Material) -> str:
    kept = [s for s in m.draft_sentences if m.rng.random() < 0.7] or m.draft_sentences[:1]
    text = " ".join(kept)
    return word_noise(text, "delete", 0.2, m.rng) if len(text.split()) > 3 else text


def _repetition(m: Material) -> str:
    text = m.draft.rstrip(".")
    return m.rng.choice((f"{text}. {text}", f"{text}, {m.answer}, {m.answer}", f"{text}, i said {text}"))


def _rearranged(m: Material) -> str:
    words = m.draft.rstrip(".").split()
    if len(words) < 2:
        return m.draft
    cut = m.rng.randrange(1, len(words))
    return " ".join(words[cut:] + words[:cut])


def _wrong_tense(m: Material) -> str:
    table = {
        "is": "was being", "are": "was", "was": "will be", "has": "had been", "have": "having", "there": "there",
        "riding": "rided", "wearing": "wear", "standing": "stooded", "sitting": "sitted", "holding": "holded",
        "playing": "play", "walking": "walk", "shows": "showing",
    }  # fmt: skip
    changed = _replace_words(m.draft, table)
    return changed if changed != m.draft else f"it were {m.draft}"


def _verbose(m: Material) -> str:
    return m.rng.choice(
        (
            f"well basically what it is, all things considered, is {m.draft}",
            f"it can be said that, as a matter of fact, {m.draft}, so to speak",
            f"in terms of what was asked, the thing is that {m.draft}",
        )
    )


def _synonyms(m: Material) -> str:
    table = {
        "picture": "image", "image": "picture", "large": "big", "big": "large", "small": "little", "little": "small",
        "person": "individual", "man": "guy", "woman": "lady", "people": "folks", "object": "thing",
        "objects": "things",
        "shape": "form", "color": "hue", "many": "numerous", "several": "multiple", "near": "close to",
        "street": "road",
        "car": "automobile", "cars": "automobiles", "bicycle": "bike", "located": "placed", "shows": "displays",
        "standing": "positioned", "beautiful": "pretty", "gone": "missing", "added": "put in",
    }  # fmt: skip
    return _replace_words(m.draft, table)


def _unformatted(m: Material) -> str:
    return " ".join(re.sub(r"[*#`_>|•]+|^\s*[-\d.)]+\s", " ", m.draft, flags=re.MULTILINE).split())


def _rewritten(m: Material) -> str:
    text = _synonyms(m)
    match = re.search(r"^(.+?)\s(?:is|are)\s(.+?)\.?$", text)
    return f"{match[2]}, that is {match[1]}" if match else text


def _casual(m: Material) -> str:
    return m.rng.choice(
        (f"uh {m.draft.lower()} i guess", f"{m.draft.lower()} lol", f"yeah so like {m.draft.lower()}, whatever")
    )


def _sophisticated(m: Material) -> str:
    table = {"is": "constitutes", "are": "constitute", "shows": "exhibits", "big": "sizable", "large": "sizable",
             "small": "diminutive", "near": "proximate to", "many": "a plethora of", "gone": "extinct"}  # fmt: skip
    changed = _replace_words(m.draft, table)
    return m.rng.choice((f"ostensibly, {changed}", f"it is hereby ascertained: {changed}"))


def _ambiguous(m: Material) -> str:
    return m.rng.choice((f"{m.draft}, or something along those lines", f"{m.draft}, depending on how one reads it"))


def _metaphor(m: Material) -> str:
    return m.rng.choice(
        (f"{m.draft}, plain as a pancake", f"{m.draft}, like ink on paper", f"as a river flows: {m.draft}")
    )


def _irrelevant(m: Material) -> str:
    extra = m.rng.choice(
        ("the weather was mild on Tuesday", "my battery is at half", "paper is made from wood", "trains run on rails")
    )
    return m.rng.choice((f"{m.draft.rstrip('.')}. {extra}", f"{extra}. {m.draft}"))


def _one_repeated(m: Material) -> str:
    sentence = m.rng.choice(m.draft_sentences or [m.draft]).rstrip(".")
    lowered = sentence.lower()
    return ". ".join((sentence, m.rng.choice((f"so {lowered}", f"yes {lowered}")), f"{lowered} again"))


def _incoherent(m: Material) -> str:
    return word_noise(m.draft, "swap", 0.4, m.rng)


_ORDERED: tuple[Callable[[Material], str], ...] = (
    _bare_lower,
    _typos,
    _bad_grammar,
    _holes,
    lambda m: m.draft.upper(),
    lambda m: m.draft.lower(),
    _synonyms,
    _repetition,
    _rearranged,
    _wrong_tense,
    _verbose,
    lambda m: m.answer,
    lambda m: ", ".join(m.words),
    _unformatted,
    _rewritten,
    lambda m: " ".join(reversed(m.draft_sentences)),
    _casual,
    _sophisticated,
    _ambiguous,
    _metaphor,
    _irrelevant,
    _one_repeated,
    lambda m: " ".join(m.words[:5]),
    _incoherent,
)
_ACTIONS: dict[str, Callable[[Material], str]] = dict(zip(COMMANDS, _ORDERED, strict=True))
