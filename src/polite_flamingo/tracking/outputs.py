"""What DVC says of the outputs of stages.

DVC hashes a stage's outputs after the stage has ended, so their md5 sums reach its run later: when the next stage
starts, or with ``polite-flamingo track-outputs`` at the end of a pipeline. Until then a file per stage below
``.work/tracking/<profile>`` says which run waits for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.io.text import read_json, write_json

WAITING = Path(".work") / "tracking"
LOCK_FILE = Path("dvc.lock")
CONFIGS = (Path(".dvc") / "config", Path(".dvc") / "config.local")  # of DVC, the last word last
CACHE = Path(".dvc") / "cache" / "files" / "md5"  # unless they name another
Hashes = dict[str, dict[str, str]]  # stage -> path of an output -> md5


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that waits for the md5 sums of its stage's outputs.

    Args:
        stage: Name of the stage.
        profile: Name of the profile.
        run_id: The stage's run.
        parent: Its pipeline's run.
        upstream: Stages that are up to date with it.
        by_dvc: Whether DVC ran it, and so will take its outputs.
        ended: When, in seconds since the epoch.
    """

    stage: str
    profile: str
    run_id: str
    parent: str
    upstream: Sequence[str]
    by_dvc: bool
    ended: float

    @property
    def path(self) -> Path:
        """The file that says so."""
        return WAITING / self.profile / f"{self.stage}.json"

    def wait(self) -> None:
        """Remember the run."""
        write_json(self.path, asdict(self))

    def done(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


def waiting() -> Iterator[EndedRun]:
    """The runs that wait."""
    for path in sorted(WAITING.glob("*/*.json")):
        with suppress(Exception):  # torn by a kill, or of another version
            yield EndedRun(**read_json(path))


def taken(run: EndedRun, hashes: Hashes) -> dict[str, str]:
    """Path -> md5 of a run's outputs, as soon as DVC has recorded them; empty until then."""
    written = LOCK_FILE.stat().st_mtime if LOCK_FILE.exists() else 0.0
    return hashes.get(run.stage, {}) if written >= run.ended else {}


def output_hashes(profile: str) -> Hashes:
    """What dvc.lock records of a profile's outputs."""
    if not LOCK_FILE.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times as fast, where libyaml is there
    lock: Mapping[str, Any] = yaml.load(LOCK_FILE.read_text(encoding="utf-8"), loader) or {}
    hashes: Hashes = {}
    for name, entry in (lock.get("stages") or {}).items():
        stage, _, of_profile = name.partition("@")
        if of_profile in ("", profile):
            hashes[stage] = {out["path"]: out["md5"] for out in entry.get("outs", ()) if "md5" in out}
    return hashes


def damaged(inputs: Sequence[str], hashes: Hashes) -> Iterator[Path]:
    """Files of a stage's inputs that are not as the stages before left them, by the md5 sums DVC took then.

    While DVC runs a stage, every change it can see has been made good. What differs all the same has changed under an
    unchanged size and time: the disk. So may have the copy in DVC's cache, which is then named too: from there the
    damage would come back.

    Args:
        inputs: Paths that the stage reads.
        hashes: What dvc.lock says.
    """
    cache = _cache()
    for path, md5 in (item for outputs in hashes.values() for item in outputs.items()):
        for given in map(Path, inputs):
            if given == Path(path) and given.is_file():
                yield from _damaged(given, md5, cache)
            elif given.is_relative_to(path) or Path(path).is_relative_to(given):
                listed = cache / md5[:2] / md5[2:]
                if not md5.endswith(".dir") or not listed.is_file():
                    continue
                if _md5(listed) != md5.removesuffix(".dir"):
                    yield listed
                    continue
                for entry in read_json(listed):
                    file = Path(path, entry["relpath"])
                    if file.is_relative_to(given) and file.is_file():
                        yield from _damaged(file, entry["md5"], cache)


def _damaged(file: Path, md5: str, cache: Path) -> Iterator[Path]:
    if _md5(file) != md5:
        kept = cache / md5[:2] / md5[2:]
        if kept.is_file() and _md5(kept) != md5:
            yield kept
        yield file


def _cache() -> Path:
    """Where DVC keeps what it has taken; a side project shares the cache of its project."""
    named = None
    for path in CONFIGS:
        parser = ConfigParser(interpolation=None, strict=False)
        with suppress(ConfigParserError, OSError, UnicodeDecodeError):
            parser.read_string(path.read_text(encoding="utf-8"))
            folder = parser.get("cache", "dir", fallback="").strip("\"'")
            named = path.parent / folder if folder else named
    return CACHE if named is None else named / "files" / "md5"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def digest(folder: Path, hashes: Hashes) -> str:
    """The md5 that DVC gives a folder, from what dvc.lock and its cache say of the output that holds it.

    Outside DVC, or before it has hashed the output, a sum of the files' names, sizes and times of change.
    """
    outs = {path: md5 for outputs in hashes.values() for path, md5 in outputs.items()}
    for path, md5 in outs.items():
        if folder == Path(path):
            return md5.removesuffix(".dir")
        if folder.is_relative_to(path):
            listed = _cache() / md5[:2] / md5[2:]
            if listed.is_file() and _md5(listed) == md5.removesuffix(".dir"):
                return _part(read_json(listed), folder.relative_to(path).as_posix())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.md5(json.dumps(facts).encode(), usedforsecurity=False).hexdigest()


def _part(files: Sequence[Mapping[str, str]], inside: str) -> str:
    """DVC's md5 of a folder within a folder: that of the list of its files."""
    below = [
        {"md5": file["md5"], "relpath": file["relpath"].removeprefix(f"{inside}/")}
        for file in files
        if file["relpath"].startswith(f"{inside}/")
    ]
    return hashlib.md5(json.dumps(below, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
