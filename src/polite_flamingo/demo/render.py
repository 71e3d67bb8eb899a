"""What the page shows of answers: everything that models, people and data sets say is text, never markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

CSS = """
.pf-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: .75rem; }
.pf-card { border: 1px solid var(--border-color-primary); border-radius: .5rem; padding: .6rem .8rem; min-width: 0; }
.pf-card h3 { margin: 0 0 .3rem; font-size: .9rem; }
.pf-text { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.pf-note { margin: .4rem 0; font-size: .85rem; opacity: .8; white-space: pre-wrap; overflow-wrap: anywhere; }
.pf-asked { margin: 1rem 0 .5rem; font-weight: 600; white-space: pre-wrap; overflow-wrap: anywhere; }
.pf-wide { overflow-x: auto; margin-top: 1rem; }
.pf-wide table { border-collapse: collapse; width: 100%; margin: 0; font-size: .85rem; }
.pf-wide table, .pf-wide tr, .pf-wide th, .pf-wide td { border: 0 !important; }
.pf-wide th, .pf-wide td { text-align: left; padding: .2rem .5rem .2rem 0; }
.pf-wide tbody tr { border-top: 1px solid var(--border-color-primary) !important; }
.pf-bad, .pf-bad td { color: #b91c1c; font-weight: 600; }
.dark .pf-bad, .dark .pf-bad td { color: #fca5a5; }
.pf-drawn .grid-container { grid-template-columns: repeat(auto-fill, minmax(4.5rem, 1fr)); grid-template-rows: none; }
"""


MARK = ' class="pf-bad"'


@dataclass(frozen=True, slots=True)
class Card:
    """One text under a title.

    Args:
        title: Whose.
        text: What was said.
        note: Beside it, smaller.
    """

    title: str
    text: str
    note: str = ""


def cards(shown: Sequence[Card]) -> str:
    """Texts side by side; one below the other on a phone."""
    return f'<div class="pf-cards">{"".join(map(_card, shown))}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int]) -> str:
    """A table; rows with the numbers in `marked` stand out."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(
        f"<tr{MARK if number in marked else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for number, row in enumerate(rows)
    )
    return f'<div class="pf-wide"><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'


def verdict(text: str, good: bool) -> str:
    """A line that says how it ended."""
    return f'<p class="pf-asked{"" if good else " pf-bad"}" role="status">{escape(text)}</p>'


def note(text: str) -> str:
    """A line beside the rest."""
    return f'<p class="pf-note" role="status">{escape(text)}</p>'


def asked(text: str) -> str:
    """A question."""
    return f'<p class="pf-asked">{escape(text)}</p>'


def _card(card: Card) -> str:
    below = f'<p class="pf-note">{escape(card.note)}</p>' if card.note else ""
    text = f'<h3>{escape(card.title)}</h3><p class="pf-text">{escape(card.text)}</p>'
    return f'<section class="pf-card">{text}{below}</section>'
