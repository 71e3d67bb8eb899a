"""The page: texts escaped, figures inline, data as JSON; it loads nothing and runs no script but its own.

A Content-Security-Policy with the hashes of its one style sheet and one script forbids everything else. All text of the
dataset is untrusted: escaped here, and set as text by the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.reports.filtering import charts
from polite_flamingo.reports.filtering.collect import KEPT, STATES, Collected, Scores, collect
from polite_flamingo.reports.filtering.examples import Gallery, load_examples
from polite_flamingo.io import write_atomic

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
    examples: int = EXAMPLES,
    image_bytes: int = IMAGE_BYTES,
) -> dict[str, int]:
    """Write the report of a filtering.

    Args:
        pf1m: Folder that stage ``filter`` has written: ``kept`` and ``rejected``.
        out: HTML file to write.
        image_root: Folder that image paths are relative to.
        profile: Name for the heading.
        sets: Per source, ``near_duplicate_share`` and ``openings`` of the answers kept; left out if None.
        examples: Records to show; half of them near a threshold.
        image_bytes: Bytes that all images together may take in the file.

    Returns:
        ``records``, ``examples``, ``images`` and ``bytes`` of the file.

    Raises:
        DataError: nothing has been filtered yet.
    """
    if not all((pf1m / state).is_dir() for state in STATES):
        raise DataError("nothing has been filtered", where=pf1m, next_step="run `polite-flamingo filter`")
    found = collect(pf1m, examples)
    gallery = Gallery(image_root, image_bytes)
    records = load_examples(pf1m, found.shown, gallery)
    page = render(found, records, gallery.images, profile, sets or {})
    write_atomic(out, page)
    return {
        "records": found.total["records"],
        "examples": len(records),
        "images": sum("url" in image for image in gallery.images),
        "bytes": len(page.encode()),
    }


def render(
    found: Collected,
    examples: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, str]],
    profile: str,
    sets: Mapping[str, Any],
) -> str:
    """The whole page as HTML."""
    style, script = _part("page.css"), _part("page.js")
    histograms = {
        (name, threshold): charts.histogram(scores)
        for (name, threshold), scores in sorted(found.scores.items(), key=lambda item: _order(found, item[0]))
    }
    sources = merged(found.sources)
    figures = {key: _figure(found, *key, histogram) for key, histogram in histograms.items()}
    content = {
        "examples": examples,
        "images": images,
        "titles": {name: charts.title(name) for name in found.filters},
        "histograms": {
            " ".join(key): {"": data.total(), **{name: c for name, c in data.counts.items() if name in sources}}
            for key, data in histograms.items()
        },
        "base": charts.BASE,
        "top": charts.TOP,
    }
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    taking = [name for name in found.filters if found.total[name]]
    return Template(_part("page.html")).substitute(
        policy=escape(policy),
        profile=escape(profile),
        style=style,
        script=script,
        tiles=_tiles(found),
        legend=charts.legend([KEPT, *taking], found.filters),
        bars=_bars(sources, [KEPT, *taking], found.filters),
        sources=_source_table(sources, taking),
        filters=_filter_table(found),
        alike=_alike({name: sets[name] for name in sources if name in sets}),
        histograms="".join(figures[key] for key in histograms if found.scores[key].cuts),
        off=_more("".join(figures[key] for key in histograms if not found.scores[key].cuts)),
        data=_json(content),
    )


def merged(sources: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Sources by name; of more than `MAX_SOURCES` the smallest are added up."""
    ranked = sorted(sources, key=lambda name: (-sources[name]["records"], name))
    shown = {name: sources[name] for name in sorted(ranked[:MAX_SOURCES])}
    if ranked[MAX_SOURCES:]:
        shown[OTHERS] = sum((sources[name] for name in ranked[MAX_SOURCES:]), Counter())
    return shown


def _tiles(found: Collected) -> str:
    total = found.total
    rejected = total["records"] - total[KEPT]
    tiles = [
        (f"{total['records']:,}", "records judged"),
        (f"{total[KEPT]:,}", f"kept ({_percent(total[KEPT], total['records'])})"),
        (f"{rejected:,}", f"rejected ({_percent(rejected, total['records'])})"),
        (f"{found.edited:,}", "kept with paragraphs cut"),
    ]
    return "".join(f"<div><dd>{number}</dd><dt>{escape(what)}</dt></div>" for number, what in tiles)


def _bars(sources: Mapping[str, Counter[str]], names: Sequence[str], filters: Sequence[str]) -> str:
    rows = []
    for source, counts in sources.items():
        told = f"{_percent(counts[KEPT], counts['records'])} kept of {counts['records']:,}"
        label = f'<span dir="auto">{escape(source)}</span><span>{told}</span>'
        rows.append(f'<li><div class="label">{label}</div>{charts.source_bar(counts, names, filters)}</li>')
    return "".join(rows)


def _source_table(sources: Mapping[str, Counter[str]], taking: Sequence[str]) -> str:
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
    return _table(head, rows)


def _filter_table(found: Collected) -> str:
    total = found.total
    left = total["records"]
    rows, notes = [], []
    for name in found.filters:
        used = [scores for (of, _), scores in sorted(found.scores.items()) if of == name]
        left -= total[name]
        counts = (found.applied[name], total[name], found.alone[name], left)
        rows.append([charts.title(name), *(f"{count:,}" for count in counts)])
        notes.append("; ".join(_threshold(scores, len(used) > 1) for scores in used))
    return _table(["filter and threshold", "applies", "took", "alone", "left"], rows, notes)


def _alike(sets: Mapping[str, Any]) -> str:
    """How much the answers of a source repeat each other."""
    if not sets:
        return ""
    rows = []
    for source, found in sets.items():
        opening, share = found["openings"][0] if found["openings"] else ("", 0.0)
        rows.append(
            [source, f"{found['near_duplicate_share']:.1%}", f"{share:.1%}", f"“{opening}”" if opening else "-"]
        )
    return (
        '<h3>Answers alike</h3><p class="note">Of the answers that pass the filters of single records: the share that '
        "nearly repeats an earlier one of the same source, and the commonest first words.</p>"
        + _table(["source", "near-duplicates", "begin alike", "with"], rows)
    )


def _figure(found: Collected, name: str, threshold: str, data: charts.Histogram) -> str:
    scores = found.scores[name, threshold]
    several = sum(of == name for of, _ in found.scores) > 1
    what = charts.AXES[name][1] if name in charts.AXES else charts.title(name)
    beyond = "" if all(data.low <= cut <= data.high for cut in data.cuts) else " (beyond the axis)"
    told = f"{what}. Threshold: {_threshold(scores, several)}{beyond}."
    return (
        f"<figure><h3>{escape(charts.title(name))}</h3>{charts.draw(name, data, f'{name} {threshold}')}"
        f'<figcaption>{escape(told)} Fullest bar: <span class="peak">{data.peak():,}</span>.</figcaption></figure>'
    )


def _more(figures: str) -> str:
    told = "Scores of filters that are off"
    return f'<details><summary>{told}</summary><div class="figures">{figures}</div></details>' if figures else ""


def _threshold(scores: Scores, with_tasks: bool) -> str:
    """For readers: ``0.4``, ``3 to 400``, ``contradiction``, ``0.4 (caption)``."""
    value = scores.threshold
    if value is None:
        return "off"
    labels = isinstance(value, list) and any(isinstance(v, str) for v in value)
    text = (", " if labels else " to ").join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text} ({', '.join(sorted(scores.tasks))})" if with_tasks else text


def _order(found: Collected, key: tuple[str, str]) -> tuple[int, str]:
    return found.filters.index(key[0]), key[1]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table whose first cells are headings, each with a line of `notes` below if there are any."""
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = []
    for row, note in zip_longest(rows, notes, fillvalue=""):
        name = escape(row[0]) + (f"<small>{escape(note)}</small>" if note else "")
        values = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        body.append(f'<tr><th scope="row" dir="auto">{name}</th>{values}</tr>')
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
