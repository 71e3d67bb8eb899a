"""What the page shows of answers: everything that models, people and data sets say is text, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
.pf-wide th, .pf-wide td {
  text-align: left; padding: .2rem .6rem; border: 0; border-bottom: 1px solid var(--border-color-primary);
}
.pf-dropped { color: var(--error-text-color, #b91c1c); font-weight: 600; }
.pf-drawn .grid-container { grid-template-columns: repeat(auto-fill, minmax(4.5rem, 1fr)); grid-template-rows: none; }
"""


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str, marked: Mapping[str, str]) -> str:
    """A table; cells that are `marked` have that class."""
    cells = "".join(
        f"<tr>{''.join(f'<td class={quoted_class(cell, marked)}>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="pf-wide" role="region" tabindex="0" aria-label="{escape(title)}"><table>'
        f"<thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def quoted_class(cell: str, marked: Mapping[str, str]) -> str:
    """The class of a cell, as an attribute's value."""
    return f'"{marked.get(cell, "")}"'


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
