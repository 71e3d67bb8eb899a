"""The dataset card of an export: what is in it, under which licences, how it was made, what was filtered and lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from polite_flamingo.errors import printable
from polite_flamingo.export.formats import Format
from polite_flamingo.export.kept import KeptRecord
from polite_flamingo.export.provenance import Provenance, as_text
from polite_flamingo.markdown import code, escaped, table
from polite_flamingo.sources.licences import hub_name

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
IMAGES_HERE = "Image files lie in `images/`; paths are relative to this folder."
IMAGES_ELSEWHERE = "Image files are not part of it; paths are relative to the data root it was made from."
TASKS = {
    "vqa": "visual-question-answering",
    "reasoning": "visual-question-answering",
    "caption": "image-to-text",
    "change": "image-to-text",
    "detail": "image-to-text",
    "dialogue": "image-text-to-text",
    "text": "text-generation",
}


class Origin(NamedTuple):
    """What records are counted by; `commercial_use` is yes, no or unknown."""

    source: str
    split: str
    task: str
    licence: str
    commercial_use: str


@dataclass
class Contents:
    """Counts of what was written, and of what was not and why."""

    written: Counter[Origin] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    restricted: Counter[str] = field(default_factory=Counter)  # licence -> records left out by --permissive-only
    images: int = 0
    suffixes: set[tuple[str, ...]] = field(default_factory=set)  # of the images of a record

    def add(self, kept: KeptRecord) -> None:
        """Count a written record."""
        rewrite = kept.rewrite
        self.images += len(rewrite.images)
        self.suffixes.add(tuple(PurePosixPath(image.path).suffix.lstrip(".").lower() for image in rewrite.images))
        use = {True: "yes", False: "no", None: "unknown"}[kept.commercial_use]
        self.written[Origin(rewrite.source, rewrite.split, str(rewrite.task), rewrite.licence, use)] += 1


def render_card(
    form: Format,
    contents: Contents,
    filters: Mapping[str, Any],
    provenance: Provenance,
    permissive_only: bool,
    with_images: bool,
) -> str:
    """The card, Markdown with the head the Hugging Face hub reads.

    Args:
        form: The format.
        contents: What was counted.
        filters: Report of the stage ``filter``.
        provenance: How the records were made.
        permissive_only: Whether other licences were left out.
        with_images: Whether the image files are part of it.
    """
    total = contents.written.total()
    parts = [
        _head(form, contents, with_images),
        f"# Rewritten vision-language annotations, as {form.title}",
        f"Annotations rewritten into responses by {provenance.rewriter}, then filtered. The method is that of *Visual "
        "Instruction Tuning with Polite Flamingo* (arXiv 2307.01003).",
        f"{total} records, {contents.images} images shown in them.",
        *_concerns(filters),
        *_contents(contents, permissive_only),
        *_made(provenance),
        *_judged(provenance, filters["kept"]),
        *_filters(filters),
        *_format(form, contents, with_images),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _concerns(report: Mapping[str, Any]) -> list[str]:
    concerns = report.get("concerns") or ()
    if not concerns:
        return []
    lines = [f"- **{escaped(one['source'])}**: {escaped(one['what'])}" for one in concerns]
    return ["## To look at before use", "\n".join(lines)]


def _made(provenance: Provenance) -> list[str]:
    parts = ["## How it was made", f"Rewritten by {provenance.rewriter}."]
    parts += [_table(("what", "with"), [(key, as_text(value)) for key, value in provenance.table.items()])]
    if provenance.sources:
        header = ("source", "read from", "folder", "split", "rows", "rejected", "taken")
        parts += ["Annotations:", _table(header, provenance.sources)]
    for version, text in sorted((provenance.prompts or {}).items()):
        parts += [f"Asked with {code(version)}:", "\n".join(f"    {printable(line)}" for line in text.splitlines())]
    return parts


def _judged(provenance: Provenance, kept: int) -> list[str]:
    parts = []
    if provenance.judged is not None:
        total, wrong = provenance.judged
        parts += [f"People judged {total} rewrites, before filtering, and called {wrong} of them wrong."]
    if provenance.release is not None:
        parts += _release(provenance.release, kept)
    return parts or ["Nobody has judged a sample of the rewrites (`polite-flamingo study`, `calibrate --labels`)."]


def _release(people: Mapping[str, Any], kept: int) -> list[str]:
    """What people said of the kept rewrites, and whether that is of this filtering."""
    own = people["kept"]
    rows = [
        (name.replace("_", " "), figure["n"], f"{figure['value']:.3f}", f"{figure['low']:.3f} to {figure['high']:.3f}")
        for name, figure in own.items()
        if figure["value"] is not None
    ]
    parts = [
        f"{people['annotators']} people judged a sample of {people['of']} kept rewrites (95 % intervals):",
        _table(("share that is", "judged", "value", "interval"), rows),
    ]
    if (outcome := people["gate"]) is not None:
        held = "held" if outcome["held"] else "did **not** hold"
        parts += [f"The gate, at least {outcome['least']} right and grounded, {held}."]
    if people["of"] != kept:
        parts += [f"**Another filtering was judged**: {kept} rewrites are kept now."]
    return parts


def _contents(contents: Contents, permissive_only: bool) -> list[str]:
    header = ("source", "split", "task", "records", "licence of the annotations", "commercial use")
    rows = [
        (o.source, o.split, o.task, count, o.licence or "not stated", o.commercial_use)
        for o, count in sorted(contents.written.items())
    ]
    note = (
        "Licences are those of the annotations; images have their own. Responses are made by a model, whose terms may "
    )
    note += "bind their use too."
    parts = ["## Contents", _table(header, rows), note]
    if permissive_only:
        parts += ["Left out, because their licence does not allow commercial use or is not known to:"]
        parts += [_table(("licence", "records"), sorted(contents.restricted.items())) or "nothing."]
    return parts


def _filters(report: Mapping[str, Any]) -> list[str]:
    rows = [(f["filter"], f["applied"], f["would_drop_alone"], f["dropped"]) for f in report["filters"]]
    thresholds = [(key, as_text(value)) for key, value in sorted(report["thresholds"].items())]
    parts = [
        "## Filters",
        f"{report['kept']} of {report['records']} rewrites were kept; paragraphs were cut from {report['edited']} "
        "of these. A record is dropped by the first filter it fails:",
        _table(("filter", "applies to", "fail it", "dropped by it"), rows),
        _table(("threshold", "value"), thresholds),
    ]
    if report.get("off"):
        parts += [f"Off, because no scorer was there for them: {', '.join(map(escaped, report['off']))}."]
    overridden = {key: values for key, values in (report.get("overridden") or {}).items() if values[0] != values[1]}
    if overridden:
        replaced = [(key, as_text(paper), as_text(own)) for key, (paper, own) in sorted(overridden.items())]
        parts += ["Not the paper's:", _table(("parameter", "the paper's value", "here"), replaced)]
    return parts


def _format(form: Format, contents: Contents, with_images: bool) -> list[str]:
    copied = with_images and not form.embeds
    where = "" if form.embeds else IMAGES_HERE if copied else IMAGES_ELSEWHERE
    usage = form.usage.replace("DATA_ROOT", "THIS FOLDER") if copied else form.usage
    parts = ["## Format", f"{usage} {where}".strip(), f"Read back with the reader `{form.reader}`."]
    parts += ["What it cannot hold:" if form.loses else "It holds everything a kept record has."]
    parts += ["\n".join(f"- {loss}." for loss in form.loses)]
    if contents.left_out:
        rows = sorted(contents.left_out.items())
        parts += ["Records left out for that, or because an image could not be read (`left_out.jsonl` names them):"]
        parts += [_table(("reason", "records"), rows)]
    return parts


def _head(form: Format, contents: Contents, with_images: bool) -> str:
    """What the Hugging Face hub and its library read.

    The licence is named only where every annotation has an open one and no image, whose terms nobody told, is part of
    it; the language is not, for nobody has looked.
    """
    total = contents.written.total()
    size = next((label for limit, label in SIZES if total < limit), "1M<n<10M")
    names = {hub_name(origin.licence) for origin in contents.written}
    known = sorted(name for name in names if name is not None)
    plain = len(known) == len(names) and known and not (with_images or form.embeds)
    lines = ["---", f"license: [{', '.join(known)}]" if plain else "license: other", f"size_categories: [{size}]"]
    tasks = sorted({TASKS[origin.task] for origin in contents.written})
    lines += [f"task_categories: [{', '.join(tasks)}]"] if tasks else []
    lines += ["configs:", "- config_name: default", f"  data_files: {json.dumps(form.files)}"]
    if form.features is not None:
        features = json.dumps(form.features(contents.suffixes))  # YAML is a superset of JSON
        lines += ["dataset_info:", f"  features: {features}"]
    return "\n".join([*lines, "---"])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    return table(header, rows)
