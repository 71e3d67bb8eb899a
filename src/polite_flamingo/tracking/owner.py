"""Which process a run belongs to, so that runs whose process was killed can be told from those that go on.

A process is known by its machine's name, that machine's boot, its space of process numbers (a container has its own),
its number and its start. A number that another process has got meanwhile has another start.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polite_flamingo.environment import PIPELINE_VARIABLE


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, on whatever machine.

    Args:
        host: Name of the machine.
        boot: The machine's boot; no two have the same.
        space: Its namespace of process numbers.
        pid: Its number.
        started: When it started, in ticks since the boot.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.space}/{self.pid}/{self.started}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The process that ``str`` made `text` of; None for any other text."""
        parts = text.split("/")
        if len(parts) != 5 or not (parts[3].isdecimal() and parts[4].isdecimal()):
            return None
        return cls(parts[0], parts[1], parts[2], int(parts[3]), int(parts[4]))

    @classmethod
    def of(cls, pid: int) -> Owner:
        """A process of this machine."""
        return cls(socket.gethostname(), _boot(), _space(), pid, _started(pid) or 0)

    def lives(self, *, one_machine: bool = False) -> bool | None:
        """Whether the process runs; None where that cannot be seen from here.

        Args:
            one_machine: All processes in question ran on the machine of this name: an earlier boot's are gone.
        """
        if (self.boot, self.space) == (_boot(), _space()):
            return _started(self.pid) == self.started
        if one_machine and self.host == socket.gethostname() and self.boot != _boot():
            return False
        return None


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What a stage belongs to: one `dvc repro`, one `polite-flamingo run`, one run of a flow, or the stage by itself.

    Args:
        key: What its stages have in common.
        owner: The process that started it, where that is known.
        command: That process's words.
        by_dvc: Whether DVC runs the stage.
    """

    key: str
    owner: Owner | None
    command: tuple[str, ...]
    by_dvc: bool

    @property
    def name(self) -> str:
        """The key without its owner, fit for a file's name."""
        return self.key.partition("@")[0]


def pipeline_run() -> PipelineRun:
    """The pipeline run this process belongs to: the environment's, or the running DVC's, or its own."""
    import psutil

    process = psutil.Process()
    dvc = None
    words: dict[int, tuple[str, ...]] = {}
    for ancestor in (process, *process.parents()):
        try:
            words[ancestor.pid] = tuple(ancestor.cmdline())
        except psutil.Error:
            continue
        if dvc is None and ancestor.pid != process.pid and is_dvc(words[ancestor.pid]):
            dvc = ancestor.pid
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        owner = Owner.parse(named.partition("@")[2])
        return PipelineRun(named, owner, words.get(owner.pid if owner else 0, ()), dvc is not None)
    owner = Owner.of(dvc or process.pid)
    name = f"{'dvc' if dvc else 'stage'}-{owner.pid}-{owner.started}"
    return PipelineRun(f"{name}@{owner}", owner, words.get(owner.pid, ()), dvc is not None)


def readable(command: Sequence[str]) -> str:
    """A command as one would type it: no interpreter, no folders before the program's name."""
    words = list(command)
    if words and Path(words[0]).name.startswith("python"):
        words = words[2:] if words[1:2] == ["-m"] else words[1:]
    return " ".join([Path(words[0]).name, *words[1:]]) if words else ""


def is_dvc(words: Sequence[str]) -> bool:
    """Whether a command is DVC running stages."""
    return any(Path(word).name == "dvc" for word in words) and bool({"repro", "exp"} & set(words))


def _started(pid: int) -> int | None:
    """Start of a running process in ticks since the boot; None when there is none of that number."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18])
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _space() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "-"
