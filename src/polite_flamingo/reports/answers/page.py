"""The page of an evaluation: one file with its pictures in it, which loads nothing and runs no script.

All text of data and answers is untrusted; the template escapes it, and a Content-Security-Policy forbids everything but
the page's one style sheet and images that stand in it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.tables import PLAIN, SHOWN, cell
from polite_flamingo.io.files import write_atomic
from polite_flamingo.reports.filtering.examples import Gallery
from polite_flamingo.reports.filtering.page import PageTable, shown

ALWAYS = ("records", "matched", "missing")
IMAGE_BYTES = 6_000_000
COUNTED = (
    "records",
    "matched",
    "missing",
    "unmatched",
    "other_question",
    "reworded",
    "doubled",
    "unanswered",
    "empty",
    "broken",
)


def write_page(
    out: Path,
    report: Mapping[str, Any],
    pictures: Mapping[str, Path],
    disagreements: Sequence[Mapping[str, Any]] = (),
    image_root: Path | None = None,
) -> None:
    """Write the page.

    Args:
        out: HTML file.
        report: As of `benchmarks.figures.report`.
        pictures: Name -> PNG, as of `benchmarks.plots.draw_all`.
        disagreements: As of `benchmarks.disagreements`.
        image_root: Folder of the images of the examples, found by name anywhere below it; None: no images.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    drawn = {name: _data_url(path) for name, path in pictures.items()}
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, finalize=shown
    ).get_template("page.html")
    content = {
        "files": _files(report["files"]),
        "notes": [f"{file['model']}: {note}" for file in report["files"] for note in file["notes"]],
        "sets": [_set(name, own) for name, own in report["sets"].items()] + _means(report),
        "differences": _differences(report["differences"]),
        "correction": f"{report['intervals']['differences']}; p by {report['intervals']['correction']}",
        "wins": _wins(report["politeness"]),
        "disagreements": _with_pictures(disagreements, image_root),
        "understanding": ", ".join(f"{figure} of {name}" for name, figure in report["tax"]["understanding"].items()),
        "definitions": list(report["definitions"].items()),
    }
    page = template.render(
        **content,
        pictures={name: drawn.get(name) for name in ("tax", "forest", "wins")},
        style=style,
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        summary=_summary(report),
        sections=_sections(content, drawn),
    )
    write_atomic(out, page)


def _files(files: Sequence[Mapping[str, Any]]) -> PageTable:
    """What became of the records of each file; counts that are 0 in all of them are left out."""
    told = [name for name in COUNTED if name in ALWAYS or any(file[name] for file in files)]
    rows = [[file["model"], file["file"], *(f"{file[name]:,}" for name in told)] for file in files]
    return PageTable(["model", "file", *(name.replace("_", " ") for name in told)], rows)


def _summary(report: Mapping[str, Any]) -> str:
    told = report["intervals"]
    return (
        f"{len(report['models'])} models, {len(report['sets'])} sets. Intervals: 95 %, {told['resamples']} resamples "
        f"of {told['clusters']} (seed {told['seed']})."
    )


def _sections(content: Mapping[str, Any], drawn: Mapping[str, str]) -> list[tuple[str, str]]:
    there = {
        "files": True, "tax": "tax" in drawn, "sets": True, "differences": "forest" in drawn, "wins": content["wins"],
        "disagreements": content["disagreements"], "definitions": True,
    }  # fmt: skip
    titles = {
        "files": "Files", "tax": "Tax", "sets": "Sets", "differences": "Differences", "wins": "Politeness",
        "disagreements": "Disagreements", "definitions": "Definitions",
    }  # fmt: skip
    return [(key, titles[key]) for key, shown in there.items() if shown]


def _set(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    means = f" Figures are means over {', '.join(own['groups'])}." if own["mean_over_groups"] else ""
    metric = "no official metric" if own["metric"] == "none" else f"official metric {own['metric']}"
    return {
        "title": f"{name}: {own['n']:,} questions on {own['images']:,} images, {metric}.{means}",
        "notes": own["notes"],
        "table": _figures(own["models"]),
        "groups": [{"title": group, "table": _figures(its)} for group, its in own["groups"].items()],
        "contamination": _contamination(own.get("contamination")),
    }


def _means(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    if len(report["sets"]) < 2:
        return []
    title = f"Mean over {len(report['sets'])} sets"
    return [{"title": title, "notes": [], "table": _figures(report["models"]), "groups": [], "contamination": None}]


def _figures(models: Mapping[str, Mapping[str, Any]]) -> PageTable:
    names = [name for name in SHOWN if any(name in its for its in models.values())]
    rows = [[name, *(cell(its.get(name), name) for its in models.values())] for name in names]
    return PageTable(["figure (%)", *models], [[f"{r[0]} (no %)" if r[0] in PLAIN else r[0], *r[1:]] for r in rows])


def _contamination(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if told is None:
        return None
    ways = ", ".join(f"{way} {count:,}" for way, count in told["ways"].items())
    rows = [
        [f"{model}, {name}", cell(one["seen"], name), cell(one["not seen"], name)]
        for model, its in told["models"].items()
        for name, one in its.items()
    ]
    text = f"{told['seen']:,} of {told['n']:,} questions ({ways})."
    return {"text": text, "table": PageTable(["figure", "seen", "not seen"], rows)}


def _differences(rows: Sequence[Mapping[str, Any]]) -> PageTable:
    def told(row: Mapping[str, Any]) -> str:
        scale = 1 if row["figure"] in PLAIN else 100
        return f"{row['value'] * scale:+.2f} ({row['low'] * scale:+.2f} to {row['high'] * scale:+.2f})"

    body = [
        [f"{row['first']} - {row['second']}", row["set"], row["figure"], told(row), f"{row['p_holm']:.2g}"]
        for row in sorted(rows, key=lambda row: row["p"])
    ]
    return PageTable(["models", "set", "figure", "difference", "p (Holm)"], body)


def _wins(told: Mapping[str, Any]) -> PageTable | None:
    if not told.get("matrix"):
        return None
    order = told["order"]
    rows = []
    for i, name in enumerate(order):
        one = told["strengths"][name]
        cells = ["" if i == j else f"{told['matrix'][i][j]:.1%}" for j in range(len(order))]
        rows.append([name, *cells, f"{one['value']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"])
    return PageTable(["row beats column", *order, "Bradley-Terry strength"], rows)


def _with_pictures(disagreements: Sequence[Mapping[str, Any]], root: Path | None) -> list[dict[str, Any]]:
    if root is None:
        return [{**one, "picture": {"note": "no folder of images was named", "url": ""}} for one in disagreements]
    from polite_flamingo.benchmarks.items import canonical
    from polite_flamingo.doctor.survey import list_images

    gallery = Gallery(root.resolve(), IMAGE_BYTES)
    wanted = {canonical(one["image"]) for one in disagreements}
    places = {key: path for path in list_images(root.resolve()) if (key := canonical(path)) in wanted}
    shown = []
    for one in disagreements:
        path = places.get(canonical(one["image"]))
        picture = gallery.images[gallery.number(path)] if path else {"note": "not below the folder of images"}
        shown.append({**one, "picture": {"note": picture.get("note", ""), "url": picture.get("url", "")}})
    return shown


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
