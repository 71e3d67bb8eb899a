"""A preview for people: a table on the terminal, a page with the photographs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.filter.concerns import Concern, Concerns
from polite_flamingo.params.schema import Params
from polite_flamingo.preview.choose import Chosen
from polite_flamingo.preview.forecast import Forecast, table_of
from polite_flamingo.preview.work import Previewed
from polite_flamingo.reports.filtering.page import PageTable, write_report
from polite_flamingo.sources.selection import without_rejects

MAX_CELL = 400  # characters of one text on the terminal
LEAST = 16  # characters of a column


def concerns_of(params: Params, previewed: Previewed) -> list[Concern]:
    """What is wrong with a source as a whole, as far as so few records tell."""
    concerns = Concerns()
    for rewrite, row in previewed.rows:
        if row["kept"]:
            concerns.add(rewrite, rewrite.rewritten)
    return concerns.report(previewed.sets, params.misplaced_judges)


def render(
    chosen: Chosen,
    previewed: Previewed,
    whole: Forecast | None,
    concerns: Sequence[Concern],
    most_rejected: float = 1.0,
    width: int | None = None,
) -> str:
    """The records, what each filter said of them, and the costs of the whole run.

    Args:
        chosen: What was drawn.
        previewed: What became of it.
        whole: The costs; None: nobody knows how many records there are.
        concerns: What a person should look at.
        most_rejected: Share of unusable rows above which a run stops.
        width: Characters of a line; None: the terminal's.
    """
    width = width or shutil.get_terminal_size((110, 40)).columns
    cells = [
        (
            rewrite.id,
            rewrite.instruction,
            rewrite.raw_answer,
            rewrite.rewritten,
            "kept" if row["kept"] else str(row["reason"]),
        )
        for rewrite, row in previewed.rows
    ]
    lines = _table(("record", "question", "raw", "rewritten", "verdict"), cells, width)
    kept = sum(bool(row["kept"]) for _, row in previewed.rows)
    lines += ["", f"{kept} of {len(previewed.rows)} kept"]
    lines += [f"without an answer: {reject.row}: {reject.reason}" for reject in previewed.lost]
    if chosen.rejected:
        lines.append(f"rows that cannot be used: {chosen.rejected} of {chosen.looked}")
        lines += [f"  {reason}" for reason in chosen.reasons]
        if chosen.share > most_rejected:
            lines.append(f"  too many: a run stops there; mend or drop them, {without_rejects(chosen.share)}")
    if previewed.unscored:
        lines.append(f"not scored, for the models are not here yet: {', '.join(previewed.unscored)}")
    lines += [f"to look at: {source}: {what}" for source, what in concerns]
    cached = sum(spent.cached for spent in previewed.measures.spent.values())
    if cached:
        lines.append(f"answers from .work/answers, not asked for again: {cached}")
    lines += ["", "the whole run"]
    if whole is None:
        lines.append("  how many records there are is not known without reading all: state --records N")
    else:
        lines += [f"  {name:<24}{value:>18}  {basis}".rstrip() for name, value, basis in table_of(whole, previewed)]
    return "\n".join(lines)


def write_page(
    params: Params, previewed: Previewed, whole: Forecast | None, concerns: Sequence[Concern], pf1m: Path, out: Path
) -> None:
    """The page of the filtering, of these records alone, with the costs."""
    costs = None
    if whole is not None:
        costs = PageTable(["the whole run", "", ""], [list(row) for row in table_of(whole, previewed)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_report(
        pf1m,
        out,
        image_root=params.image_root,
        profile=params.profile,
        sets=previewed.sets,
        examples=len(previewed.rows),
        concerns=concerns,
        costs=costs,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns that share the width by what they hold, cells of several lines."""
    cut = [[textwrap.shorten(" ".join(cell.split()), MAX_CELL, placeholder=" …") for cell in row] for row in rows]
    longest = [max(len(name), *(len(row[i]) for row in cut)) for i, name in enumerate(head)]
    room = max(width - 2 * (len(head) - 1), LEAST * len(head))
    widths = [LEAST] * len(head)
    for _ in range(room - sum(widths)):
        short = [i for i, wanted in enumerate(longest) if widths[i] < wanted]
        if not short:
            break
        widths[min(short, key=lambda i: widths[i] / longest[i])] += 1
    lines = []
    for row in (list(head), ["-" * w for w in widths], *cut):
        wrapped = [textwrap.wrap(cell, w) or [""] for cell, w in zip(row, widths, strict=True)]
        for number in range(max(map(len, wrapped))):
            parts = (part[number] if number < len(part) else "" for part in wrapped)
            lines.append("  ".join(f"{part:<{w}}" for part, w in zip(parts, widths, strict=True)).rstrip())
    return lines
