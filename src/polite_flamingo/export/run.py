"""``polite-flamingo export``: kept records -> one folder in one format, with its card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.export.card import Contents, render_card
from polite_flamingo.export.formats import FORMATS, Format
from polite_flamingo.export.images import carried
from polite_flamingo.export.jsonfile import JsonWriter
from polite_flamingo.export.kept import read_kept
from polite_flamingo.export.provenance import Provenance
from polite_flamingo.io.files import publishing, write_atomic
from polite_flamingo.io.text import read_json, write_json

CARD = "README.md"
SUMMARY = "export.json"  # marks a folder that a later export may replace
LEFT_OUT = "left_out.jsonl"
LOG = logging.getLogger(__name__)


def export(
    name: str,
    pf1m: Path,
    out: Path,
    *,
    image_root: Path,
    filters: Path,
    provenance: Provenance,
    permissive_only: bool = False,
    with_images: bool = False,
) -> dict[str, Any]:
    """Write the kept records in one format; the folder appears complete or not at all.

    Args:
        name: Name of the format, one of `FORMATS`.
        pf1m: Folder of the kept records and the decisions, as the stage ``filter`` writes it.
        out: The folder to write; one that an earlier export has written is replaced.
        image_root: Data root image paths are relative to.
        filters: Report of the stage ``filter``.
        provenance: How the records were made, for the card.
        permissive_only: Leave out annotations whose licence is not known to allow commercial use.
        with_images: Copy the image files into the folder, where the format does not embed them.

    Returns:
        The summary that is also written to ``export.json``.

    Raises:
        ConfigError: no such format, or `out` holds something else.
        DataError: there are no kept records.
    """
    if name not in FORMATS:
        raise ConfigError("unknown format", value=name, next_step=did_you_mean(name, FORMATS))
    _check_replaceable(out)
    form = FORMATS[name]
    report = read_json(filters)
    out = out.absolute()
    with publishing(out) as staging:
        carry = with_images and not form.embeds
        contents = _write(form, staging, image_root, pf1m, permissive_only, carry)
        write_atomic(staging / CARD, render_card(form, contents, report, provenance, permissive_only, with_images))
        summary = {
            "format": name,
            "records": contents.written.total(),
            "images": contents.images,
            "left_out": dict(sorted(contents.left_out.items())),
            "restricted": dict(sorted(contents.restricted.items())),
            "cannot_hold": list(form.loses),
        }
        origins = [{**origin._asdict(), "records": count} for origin, count in sorted(contents.written.items())]
        write_json(staging / SUMMARY, {**summary, "contents": origins})
    for reason, count in contents.left_out.items():
        LOG.warning("%d records left out: %s (see %s)", count, reason, out / LEFT_OUT)
    return {**summary, "out": str(out)}


def _check_replaceable(out: Path) -> None:
    if out.exists() and not (out / SUMMARY).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("folder holds something other than an export", value=str(out), next_step="name another --out")


def _write(form: Format, folder: Path, image_root: Path, pf1m: Path, permissive_only: bool, carry: bool) -> Contents:
    """Write the records to `folder`, those the format cannot hold by name to ``left_out.jsonl``, and count both."""
    contents = Contents()
    with form.open(folder, image_root) as writer, JsonWriter(folder / LEFT_OUT, lines=True) as left_out:
        for record in read_kept(pf1m):
            if permissive_only and not record.commercial_use:
                contents.restricted[record.rewrite.licence] += 1
                continue
            try:
                if carry:
                    record = carried(record, image_root, folder)
                writer.add(record)
            except DataError as error:
                contents.left_out[error.what] += 1
                value = None if error.value is None else str(error.value)
                left_out.append({"id": record.rewrite.id, "reason": error.what, "value": value})
            else:
                contents.add(record)
    if not contents.left_out:
        (folder / LEFT_OUT).unlink()
    return contents
