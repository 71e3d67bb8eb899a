"""What ran, as the reports of the stages tell it: the part of a card that nobody could check otherwise.

Nothing is taken from the settings of today: they may have been changed since. What no report tells is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.io.text import read_json
from polite_flamingo.markdown import code
from polite_flamingo.sources.registry import catalogue
from polite_flamingo.sources.selection import TABLE

UNKNOWN = "unknown: the stage's report does not tell"
WHO = {
    "flamingo": "a Flamingo that this pipeline trained from `{model}` on responses distorted by `{distortion}` "
    "(section 3 of the paper)",
    "hf": "`{model}`, a model of the Hugging Face kind, asked in words",
    "openai": "`{model}` behind an OpenAI-compatible endpoint, asked in words",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the records were made.

    Args:
        rewriter: Who rewrote, in a sentence.
        table: Whatever else ran, by name.
        sources: Rows of the sources: name, what was read, folder, split, rows read, rejected, taken.
        prompts: The wording that the rewriter was asked with, by version.
        judged: Rewrites that people have judged before filtering, and those that they called wrong; None: nobody has.
        release: What people said of a sample of the kept rewrites (`polite-flamingo study report`); None: nobody has.
    """

    rewriter: str
    table: Mapping[str, Any]
    sources: tuple[tuple[Any, ...], ...] = ()
    prompts: Mapping[str, str] | None = None
    judged: tuple[int, int] | None = None
    release: Mapping[str, Any] | None = None


def read_provenance(reports: Path, drawn: bool, **known: Any) -> Provenance:
    """Read the reports of a run.

    Args:
        reports: Their folder.
        drawn: Whether the images are the embedded world's.
        known: What the caller knows, e.g. the seed.
    """
    download, rewrite, score = (_read(reports / f"{name}.json") for name in ("download", "rewrite", "score"))
    rewriter = rewrite.get("rewriter") or {}
    who = WHO.get(rewriter.get("kind", ""), "`{model}`") if rewriter else UNKNOWN
    models = score.get("models")
    table = {
        **known,
        "decoding sent": rewriter.get("decoding", UNKNOWN),
        "answers asked for again": _repairs(rewrite),
        **({f"scorer {name}": origin for name, origin in models.items()} if models is not None else {}),
    }
    if models is None:
        table["scorers"] = UNKNOWN
    elif not models:
        table["scorers"] = "none"
    if score.get("judge"):
        table["the judge's records"] = score["judge"]
    if "prompts" in rewrite:
        table["records by prompt"] = rewrite["prompts"]
    people = _read(reports / "calibration" / "labels.json").get("records")
    used = rewrite.get("prompts", {})
    texts = {version: text for version, text in rewrite.get("prompt_texts", {}).items() if version in used}
    return Provenance(
        who.format(**{name: _bare(rewriter.get(name, "?")) for name in ("model", "distortion")}),
        table,
        tuple(_sources(download, drawn)),
        texts,
        None if people is None else (people["total"], people["corrupted"]),
        _read(reports / "people.json") or None,
    )


def _bare(name: object) -> str:
    """A name that stands in code of a sentence of Markdown."""
    return code(name)[1:-1]


def _repairs(rewrite: Mapping[str, Any]) -> str:
    repair = rewrite.get("repair")
    if repair is None:
        return UNKNOWN
    return f"{repair['tried']}; {repair['saved']} then without fault, {repair['kept_raw']} left as annotated"


def _sources(download: Mapping[str, Any], drawn: bool) -> Iterator[tuple[Any, ...]]:
    for row in download.get("sources", ()):
        if row["role"] not in ("annotation", "pf1m"):
            continue
        entry = catalogue().get(row["name"])
        if entry is None:
            what = f"one's own reader {row['name']}"
        elif entry.group == "own":
            what = "a table of one's own" if row["name"] == TABLE else f"one's own files: {entry.title}"
        else:
            what = f"drawn scenes in the form of {entry.title}" if drawn else f"files of {entry.title} ({entry.home})"
        yield (row["name"], what, row["folder"], row["split"], row["read"], row["rejected"], row["kept"])


def _read(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def as_text(value: Any) -> str:
    """A value for a table's cell."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
