"""``polite-flamingo fetch``: show what a dataset's licence and size are, then get and unpack its official files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.fetch.archives import unpack
from polite_flamingo.fetch.record import LOCK, NAME, is_done, note, read_record, target_of
from polite_flamingo.fetch.transfer import (
    CutOffError,
    DiskFullError,
    check_file,
    find_size,
    open_client,
    part_of,
    transfer,
)
from polite_flamingo.io.locks import locked
from polite_flamingo.sources import Entry, catalogue, load_source
from polite_flamingo.sources.registry import RemoteFile

if TYPE_CHECKING:
    import httpx

Say = Callable[[str], Any]
COMMERCIAL = {True: "yes", False: "no", "unknown": "not stated"}
TERMS = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
    "BSD-3-Clause": "https://opensource.org/license/bsd-3-clause",
}


def fetch_datasets(names: Sequence[str], root: Path, *, accept_licence: bool, say: Say) -> None:
    """Get the official files of datasets into their folders below `root`; finished ones are left as they are.

    Archives are unpacked where they lie and then removed; one that somebody else put there stays. Steps only a person
    can take are told. A file that cannot be had does not keep the others from being fetched.

    Args:
        names: Datasets of the catalogue.
        root: Data root; made if need be.
        accept_licence: Whether the licences that are shown are accepted; without, nothing is fetched.
        say: Gets the lines that a person should read.

    Raises:
        ConfigError: unknown dataset, or licence not accepted.
        DataError: some files could not be fetched or unpacked, or there is no room for them.
        BusyError: another process fetches the same dataset.
    """
    known = catalogue()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError("unknown source", value=unknown[0], where="fetch", next_step=did_you_mean(unknown[0], known))
    with open_client() as client:
        lacking = [job for name in names for job in _announce(client, known[name], root, say)]
        if not lacking:
            return
        if not accept_licence:
            terms = "read the terms at the home pages above, then add --accept-licence"
            raise ConfigError("licence is not accepted", value=sorted({job.name for job in lacking}), next_step=terms)
        root.mkdir(parents=True, exist_ok=True)
        needed, free = sum(job.still for job in lacking), shutil.disk_usage(root).free
        if needed > free:
            what = f"the files need {human(needed)}, the disk has {human(free)} free"
            raise DataError(what, where=root, next_step="free some space or name another --data-root")
        _report(_fetch_all(client, lacking))


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    folder: Path
    remote: RemoteFile
    size: int | None
    still: int  # bytes to fetch, as far as known


def human(size: float) -> str:
    """A size in bytes for people: ``6.6 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _announce(client: httpx.Client, entry: Entry, root: Path, say: Say) -> list[_Job]:
    """Say what will be fetched under which licence; return what is lacking."""
    reader = load_source(entry.name)
    folder = root / entry.folder
    say(f"{entry.name}: {entry.title}, into {folder}")
    say(f"  licence   {reader.licence} (commercial use of the annotations: {COMMERCIAL[entry.permissive]})")
    for text in (address for name, address in TERMS.items() if re.search(rf"\b{re.escape(name)}\b", reader.licence)):
        say(f"  terms     {text}")
    say(f"  home      {entry.home}")
    lacking = []
    for remote in entry.files:
        if is_done(folder, remote):
            say(f"  there     {remote.to}")
            continue
        target = target_of(folder, remote)
        size = find_size(client, remote)
        have = target if target.is_file() else part_of(target)
        there = have.stat().st_size if have.is_file() else 0
        begun = f", {human(there)} of it there" if there else ""
        say(f"  to fetch  {remote.to}: {'size not known' if size is None else human(size)}{begun}, from {remote.url}")
        lacking.append(_Job(entry.name, folder, remote, size, max((size or 0) - there, 0)))
    for sibling in reader.siblings:
        say(f"  uses      images or boxes of {sibling} in {root / sibling}: fetch it too")
    for line in entry.manual.strip().splitlines():
        say(f"  by hand   {line}")
    return lacking


def _fetch_all(client: httpx.Client, jobs: Sequence[_Job]) -> list[DataError]:
    failures: list[DataError] = []
    for job in jobs:
        with locked(job.folder / LOCK, where=job.folder):
            try:
                _fetch(client, job)
            except DiskFullError as error:
                return [*failures, error]
            except DataError as error:
                failures.append(error)
    return failures


def _fetch(client: httpx.Client, job: _Job) -> None:
    folder, remote = job.folder, job.remote
    if is_done(folder, remote):  # another dataset of the same folder has brought it
        return
    target = target_of(folder, remote)
    facts = {key: value for key, value in read_record(folder).get(remote.to, {}).items() if key != "unpacked"}
    if not target.is_file():
        facts = _transfer(client, job, target)
        note(folder, remote, facts)
    elif facts.get("url") != remote.url:
        facts = {**check_file(remote, target), "not_ours": True}
    if remote.unpack:
        above = target.parent.relative_to(folder)
        kept = {folder / NAME, folder / LOCK, target, *(folder / name for name in read_record(folder))}
        note(folder, remote, facts, [(above / name).as_posix() for name in unpack(target, target.parent, kept=kept)])
        if "not_ours" not in facts:
            target.unlink()
    else:
        note(folder, remote, facts)


def _transfer(client: httpx.Client, job: _Job, target: Path) -> dict[str, Any]:
    from tqdm import tqdm

    part = part_of(target)
    begun = part.stat().st_size if part.is_file() else 0
    with tqdm(total=job.size, initial=begun, desc=job.remote.to, unit="B", unit_scale=True, mininterval=0.5) as bar:
        return transfer(client, job.remote, target, advance=bar.update)


def _report(failures: Sequence[DataError]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        listed = "".join(f"\n  {error}" for error in failures)
        passing = all(isinstance(failure, CutOffError) for failure in failures)
        kind = CutOffError if passing else DataError
        raise kind(f"{len(failures)} files could not be fetched:{listed}")
