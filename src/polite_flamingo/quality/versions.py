"""Versions of a suite: what was expected from which run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.io.text import read_json, write_json


def notes(folder: Path, texts: Sequence[str], run: str) -> list[str]:
    """Remember a suite's expectations; say in Markdown, last version first, what each version changed.

    Args:
        folder: Where the versions of this suite are kept, one file each.
        texts: Its expectations now.
        run: Name of the run that checks now.
    """
    versions = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if not versions or versions[-1]["expectations"] != list(texts):
        versions.append({"since": run, "expectations": list(texts)})
        write_json(folder / f"{len(versions):06d}.json", versions[-1])
    lines = []
    for number, version in enumerate(versions, start=1):
        before = versions[number - 2]["expectations"] if number > 1 else []
        added = [f"added {text}" for text in version["expectations"] if text not in before]
        removed = [f"removed {text}" for text in before if text not in version["expectations"]]
        changes = [f"{len(version['expectations'])} expectations"] if number == 1 else added + removed or ["order"]
        lines.append(f"Version {number}, since run {version['since']}: " + "; ".join(changes))
    return lines[::-1]
