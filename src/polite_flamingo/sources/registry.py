"""The catalogue: which datasets there are, who reads them, how many rows they have and where they come from.

One entry per dataset in ``catalogue/*.yaml``. An entry holds facts about the official release, the reader's class what
its files look like::

    vqav2:
      title: VQA v2
      reader: polite_flamingo.sources.readers.vqav2:Vqav2
      group: vqa                  # one of GROUPS
      folder: vqav2               # where `fetch` puts it below the data root
      permissive: true            # may the annotations be used commercially? true | false | unknown
      splits: {train: 443757, val: 214354}   # rows the reader yields of the official files; null where not known
      repeats: [minival]          # splits of rows that others have as well: `init` takes those others
      pf1m: 210743                # rows in the published PF-1M (Table 6), if it is one of its sources
      home: https://visualqa.org/download.html
      files:                      # what `fetch` gets; sizes and checksums only where they were published
        - {url: "https://…/a.zip", to: a.zip, bytes: 123, md5: "…", unpack: true}
      manual: Register at … and put … into …   # what only a person can do; files or manual or both
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.plugins import load, named

if TYPE_CHECKING:
    from polite_flamingo.sources.base import Source

GROUPS = {
    "captioning": "Captioning",
    "classification": "Classification",
    "change": "Change captioning (two images)",
    "rationale": "Visual question answering with rationale",
    "vqa": "Visual question answering",
    "instruction": "High-quality responses",
    "evaluation": "Evaluation",
    "own": "Your own data",
}
CATALOGUE = Path(__file__).with_name("catalogue")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of the official release.

    Args:
        url: Official location.
        to: Where it goes, below the dataset's folder.
        bytes: Published size, None if not known.
        md5: Published checksum, if any.
        sha256: Published checksum, if any.
        unpack: Unpack the archive into the folder it lies in.
    """

    url: str
    to: str
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset of the catalogue; the module's docstring explains the fields."""

    name: str
    title: str
    reader: str
    group: str
    folder: str
    permissive: bool | Literal["unknown"]
    splits: Mapping[str, int | None]
    home: str
    pf1m: int | None = None
    repeats: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    manual: str = ""
    notes: str = ""


@functools.cache
def catalogue() -> Mapping[str, Entry]:
    """All entries by name, in the order of `GROUPS` and, within a group, of their files."""
    import yaml

    entries: dict[str, Entry] = {}
    for file in sorted(CATALOGUE.glob("*.yaml")):
        for name, values in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            if name in entries:
                raise ConfigError("dataset is in the catalogue twice", value=name, where=file.name)
            entries[name] = _entry(name, values, file.name)
    order = list(GROUPS)
    return dict(sorted(entries.items(), key=lambda item: order.index(item[1].group)))


def _entry(name: str, values: Any, where: str) -> Entry:
    try:
        files = tuple(RemoteFile(**file) for file in values.pop("files", ()))
        entry = Entry(name=name, files=files, repeats=tuple(values.pop("repeats", ())), **values)
    except (TypeError, AttributeError) as error:
        raise ConfigError("catalogue entry cannot be used", value=str(error), where=f"{where}: {name}") from None
    if entry.group not in GROUPS:
        raise ConfigError("unknown group", value=entry.group, where=f"{where}: {name}", next_step=", ".join(GROUPS))
    return entry


def load_source(name: str) -> Source:
    """Return the reader of a dataset: its name in the catalogue, that of a plug-in, or ``package.module:Class``.

    Raises:
        ConfigError: no such dataset (the message suggests one) or no such class.
    """
    known = catalogue()
    reader = known[name].reader if name in known else name
    module, colon, attribute = reader.partition(":")
    if not colon and name in named("readers"):
        plugged: Source = load("readers", name)()
        return plugged
    if not colon:
        names = [*known, *named("readers")]
        raise ConfigError("unknown source", value=name, where="sources", next_step=did_you_mean(name, names))
    try:
        source: Source = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ConfigError("reader cannot be loaded", value=reader, where="sources", next_step=str(error)) from error
    return source
