"""The page: what page.html shows, data as JSON; it loads nothing and runs no script but its own.

A Content-Security-Policy with the hashes of its one style sheet and one script forbids everything else. All text of the
dataset is untrusted: the template escapes it, and the script sets it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, printable
from polite_flamingo.filter.sets import LABELS
from polite_flamingo.io.files import write_atomic
from polite_flamingo.reports.filtering import charts
from polite_flamingo.reports.filtering.collect import KEPT, STATES, Collected, Scores, collect
from polite_flamingo.reports.filtering.examples import Gallery, load_examples

EXAMPLES = 300
IMAGE_BYTES = 6_000_000
MAX_SOURCES = 80  # more are told together
OTHERS = "(all others)"


def write_report(
    pf1m: Path,
    out: Path,
    *,
    image_root: Path,
    profile: str,
    sets: Mapping[str, Any] | None = None,
    concerns: Sequence[tuple[str, str]] = (),
    costs: PageTable | None = None,
    examples: int = EXAMPLES,
    image_bytes: int = IMAGE_BYTES,
) -> dict[str, int]:
    """Write the report of a filtering.

    Args:
        pf1m: Folder that stage ``filter`` has written.
        out: HTML file to write.
        image_root: Folder that image paths are relative to.
        profile: Name for the heading.
        sets: Per source, ``near_duplicate_share`` and ``openings`` of the answers kept; left out if None.
        concerns: Source, and what a person should look at in it.
        costs: Of a preview: what the whole run takes.
        examples: Records to show; half of them near a threshold.
        image_bytes: Bytes that all images together may take in the file.

    Returns:
        ``records``, ``examples``, ``images`` and ``bytes`` of the file.

    Raises:
        DataError: nothing has been filtered yet.
    """
    if not all((pf1m / state).is_dir() for state in STATES):
        raise DataError(
            "nothing has been filtered yet", where=pf1m, next_step="run `polite-flamingo run --until filter`"
        )
    collected = collect(pf1m, examples)
    gallery = Gallery(image_root, image_bytes)
    records = load_examples(pf1m, collected.examples, gallery)
    page = render(collected, records, gallery.images, profile, sets or {}, concerns, costs)
    write_atomic(out, page)
    return {
        "records": collected.total["records"],
        "examples": len(records),
        "images": sum("url" in image for image in gallery.images),
        "bytes": len(page.encode()),
    }


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table whose first cells are headings, each with a line of `notes` below if there are any."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FilterFigure:
    """The histogram of one filter's scores.

    Args:
        title: Name of the filter.
        key: Where the script finds the counts.
        drawing: What is drawn.
        caption: What the axis is, and the threshold.
        peak: Records in the fullest bin.
    """

    title: str
    key: str
    drawing: charts.Drawing
    caption: str
    peak: int


def render(
    collected: Collected,
    examples: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, str]],
    profile: str,
    sets: Mapping[str, Any],
    concerns: Sequence[tuple[str, str]] = (),
    costs: PageTable | None = None,
) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style, script = _part("page.css"), _part("page.js")
    histograms = {
        key: charts.histogram(scores)
        for key, scores in sorted(collected.scores.items(), key=lambda item: _order(collected, item[0]))
    }
    sources = merged(collected.sources)
    figures = {key: _figure(collected, *key, histogram) for key, histogram in histograms.items()}
    content = {
        "examples": examples,
        "images": images,
        "titles": {name: charts.title(name) for name in collected.filters},
        "histograms": {
            " ".join(key): {"": data.total(), **{name: c for name, c in data.counts.items() if name in sources}}
            for key, data in histograms.items()
        },
        "base": charts.BASE,
        "top": charts.TOP,
    }
    taking = [name for name in collected.filters if collected.total[name]]
    fates = [KEPT, *taking]
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, finalize=shown
    ).get_template("page.html")
    return page.render(
        charts=charts,
        style_hash=_hash(style),
        script_hash=_hash(script),
        style=style,
        script=script,
        data=_json(content),
        profile=profile,
        tiles=_tiles(collected),
        legend=[(charts.colour(name, collected.filters), charts.label(name)) for name in fates],
        sources=[_source(name, counts, fates, collected.filters) for name, counts in sources.items()],
        source_table=_source_table(sources, taking),
        filter_table=_filter_table(collected),
        concerns=concerns,
        costs=costs,
        alike_table=_alike_table({name: sets[name] for name in sources if name in sets}),
        figures_on=[figures[key] for key in histograms if collected.scores[key].cuts],
        figures_off=[figures[key] for key in histograms if not collected.scores[key].cuts],
    )


def merged(sources: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Sources by name; of more than `MAX_SOURCES` the smallest are added up."""
    ranked = sorted(sources, key=lambda name: (-sources[name]["records"], name))
    largest = {name: sources[name] for name in sorted(ranked[:MAX_SOURCES])}
    if ranked[MAX_SOURCES:]:
        largest[OTHERS] = sum((sources[name] for name in ranked[MAX_SOURCES:]), Counter())
    return largest


def _source(name: str, counts: Counter[str], fates: Sequence[str], filters: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "kept": f"{_percent(counts[KEPT], counts['records'])} kept",
        "records": f"{counts['records']:,}",
        "bar": charts.source_bar(counts, fates, filters),
    }


def _tiles(collected: Collected) -> list[tuple[str, str]]:
    total = collected.total
    rejected = total["records"] - total[KEPT]
    return [
        (f"{total['records']:,}", "records judged"),
        (f"{total[KEPT]:,}", f"kept ({_percent(total[KEPT], total['records'])})"),
        (f"{rejected:,}", f"rejected ({_percent(rejected, total['records'])})"),
        (f"{collected.edited:,}", "kept with paragraphs cut"),
    ]


def _source_table(sources: Mapping[str, Counter[str]], taking: Sequence[str]) -> PageTable:
    head = ["source", "records", "kept", "kept share", *(charts.title(name) for name in taking)]
    rows = [
        [
            source,
            f"{c['records']:,}",
            f"{c[KEPT]:,}",
            _percent(c[KEPT], c["records"]),
            *(f"{c[n]:,}" for n in taking),
        ]
        for source, c in sources.items()
    ]
    return PageTable(head, rows)


def _filter_table(collected: Collected) -> PageTable:
    total = collected.total
    left = total["records"]
    rows, notes = [], []
    for name in collected.filters:
        used = [scores for (of, _), scores in sorted(collected.scores.items()) if of == name]
        left -= total[name]
        counts = (collected.applied[name], total[name], collected.alone[name], left)
        rows.append([charts.title(name), *(f"{count:,}" for count in counts)])
        idle = "" if collected.applied[name] else "off: no record has its score"
        notes.append("; ".join(_threshold(scores, len(used) > 1) for scores in used) or idle)
    return PageTable(["filter and threshold", "applies", "took", "alone", "left"], rows, notes)


def _alike_table(sets: Mapping[str, Any]) -> PageTable | None:
    """How much the answers of a source repeat each other."""
    rows = []
    for source, answers in sets.items():
        opening, share = answers["openings"][0] if answers["openings"] else ("", 0.0)
        near = f"{answers['near_duplicate_share']:.1%}"
        rows.append([source, near, f"{share:.1%}", f"“{opening}”" if opening else "-"])
    return PageTable(["source", "near-duplicates", "begin alike", "with"], rows) if rows else None


def _figure(collected: Collected, name: str, threshold: str, data: charts.Histogram) -> FilterFigure:
    scores = collected.scores[name, threshold]
    several = sum(of == name for of, _ in collected.scores) > 1
    axis = LABELS[name][1] if name in LABELS else charts.title(name)
    beyond = "" if all(data.low <= cut <= data.high for cut in data.cuts) else " (beyond the axis)"
    caption = f"{axis}. Threshold: {_threshold(scores, several)}{beyond}."
    return FilterFigure(charts.title(name), f"{name} {threshold}", charts.draw(name, data), caption, data.peak())


def _threshold(scores: Scores, with_tasks: bool) -> str:
    """For readers: ``0.4``, ``3 to 400``, ``contradiction``, ``0.4 (caption)``."""
    value = scores.threshold
    if value is None:
        return "off"
    labels = isinstance(value, list) and any(isinstance(v, str) for v in value)
    text = (", " if labels else " to ").join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text} ({', '.join(sorted(scores.tasks))})" if with_tasks else text


def _order(collected: Collected, key: tuple[str, str]) -> tuple[int, str]:
    return collected.filters.index(key[0]), key[1]


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def shown(value: Any) -> Any:
    """Texts of the data, at any depth, without what would turn the direction of a page; anything else as it is."""
    if type(value) is str:  # no Markup, which is the page's own
        return printable(value)
    if isinstance(value, Mapping):
        return {key: shown(one) for key, one in value.items()}
    return [shown(one) for one in value] if isinstance(value, list | tuple) else value


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(shown(value), ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
