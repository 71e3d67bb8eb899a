"""Bit flips in every kind of file the project writes and reads again, and what its reader makes of them.

Each kind writes its files once; every flip is in a copy of its own, and read as the project would.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.chaos_kinds import KINDS, Kind
from bench.chaos_tally import LOST, RECOMPUTED, REFUSED, SILENT, Tally
from polite_flamingo.errors import PoliteFlamingoError


def flip_bits(tally: Tally, flips: int, scratch: Path, finished: Path | None) -> None:
    """Flip so many bits in every kind of file.

    Args:
        tally: Gets what became of them.
        flips: Per kind.
        scratch: Empty folder.
        finished: A project whose demo has run, for the files of its stages.
    """
    logging.disable(logging.CRITICAL)
    try:
        for kind in KINDS:
            whole = scratch / "whole"
            kind.write(whole)
            _flip(tally, kind, flips, whole, scratch / "copy")
            shutil.rmtree(whole)
        if finished is None:
            tally.skipped.append("bits in the outputs of stages: no finished demo")
        else:
            _flip_outputs(tally, flips, finished, scratch)
    finally:
        logging.disable(logging.NOTSET)


def flip(path: Path, place: int) -> None:
    """Flip one bit; size and time of the file stay, as a disk would have it."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _flip(tally: Tally, kind: Kind, flips: int, whole: Path, copy: Path) -> None:
    rng = tally.rng("bits", kind.name)
    files = [path for path in sorted(whole.glob(kind.pattern)) if path.is_file() and path.stat().st_size]
    for _ in range(flips):
        if not tally.has_time(f"bits in {kind.name}"):
            return
        file = rng.choice(files).relative_to(whole)
        shutil.copytree(whole, copy)
        place = rng.randrange(8 * (copy / file).stat().st_size)
        flip(copy / file, place)
        about = f"bit {place} of {file}"
        try:
            ending = kind.read(copy)
        except PoliteFlamingoError:
            ending = REFUSED
        except Exception as error:
            ending, about = LOST, f"{about}: {type(error).__name__}: {error}"[:300]
        tally.add(f"a bit in {kind.name}", ending, about)
        shutil.rmtree(copy)


def _flip_outputs(tally: Tally, flips: int, finished: Path, scratch: Path) -> None:
    """Flip bits in what the demo's stages wrote, and ask what a later stage asks before it reads."""
    from polite_flamingo.tracking.outputs import damaged, output_hashes

    with _working_in(finished):
        hashes = output_hashes("tiny")
        outs = sorted({path for outputs in hashes.values() for path in outputs if Path(path).exists()})
        files: dict[str, list[Path]] = {}
        for out in map(Path, outs):
            for file in [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file()):
                if 0 < file.stat().st_size < 5_000_000:
                    files.setdefault(file.suffix or "without an ending", []).append(file)
        copied = scratch / "finished"
        for name in ("dvc.lock", ".dvc/cache"):
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            (copied / name).symlink_to((finished / name).resolve())
    rng = tally.rng("bits", "outputs")
    for suffix, found in sorted(files.items()):
        for _ in range(max(1, flips // 8)):
            if not tally.has_time("bits in the outputs of stages"):
                return
            file = rng.choice(found)
            (copied / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(finished / file, copied / file)
            place = rng.randrange(8 * (copied / file).stat().st_size)
            flip(copied / file, place)
            with _working_in(copied):
                seen = list(damaged([str(file)], hashes)) == [file]
            tally.add(f"a bit in an output of a stage ({suffix})", RECOMPUTED if seen else SILENT, f"{place} of {file}")
            (copied / file).unlink()


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
