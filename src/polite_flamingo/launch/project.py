"""Where DVC runs a profile: the project itself for the one params.yaml names, a side project for any other.

DVC takes the profile from params.yaml and records its state in dvc.lock, both tracked by git. So a side project, a
folder below ``.work/projects``, has a params.yaml, a dvc.yaml and a dvc.lock of its own; all else in it is a link to
the project's, and DVC's cache is shared. However a run ends, git sees no difference, and two profiles may run side by
side. A profile that params.yaml names, with other stages than a dvc.yaml that git keeps for a clone, runs in a side
project as well.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from polite_flamingo.errors import BusyError, ConfigError
from polite_flamingo.io.files import set_aside, write_atomic
from polite_flamingo.io.locks import locked
from polite_flamingo.launch.holders import at_work, describe, end, holder_of, runs_dvc
from polite_flamingo.launch.pipeline_file import serves, write_pipeline
from polite_flamingo.params.reading import load_params

LOG = logging.getLogger(__name__)

FOLDER = Path(".work") / "projects"
OWN = ("params.yaml", "dvc.yaml", "dvc.lock", ".dvc", ".git")  # what a side project does not share
WRITTEN = ("data", "models", "reports")  # shared, also where nothing has been written to them yet
PLOTS = ".dvc/plots"  # templates
_PROFILE = re.compile(r"""^profile:[ \t]*(["']?)([^\s"']+)\1""", re.MULTILINE)
_CONFIG = """\
[core]
    no_scm = true
    analytics = false
    check_update = false
"""


@contextmanager
def project_of(
    profile: str, root: Path = Path(), *, wait: Callable[[], None] | None = None, end_other: bool = False
) -> Iterator[Path]:
    """Folder in which DVC runs `profile`, held for the time of the block.

    Args:
        profile: Name of the profile.
        root: Top folder of the project.
        wait: Called while another run has the profile, before each further try; None: there is no other try.
        end_other: End another run instead of refusing.

    Raises:
        ConfigError: params.yaml has no line ``profile: …``.
        BusyError: another run of this profile is going on, and `wait` is None. It may be one that nothing of ours
            started: DVC by hand, or a stage whose DVC was killed.
    """
    root = root.resolve()
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(_turn(profile, root))
                break
            except BusyError:
                if end_other:
                    lock, end_other = root / FOLDER / f"{profile}.lock", False
                    holder = holder_of(lock)
                    end([*([] if holder is None else [holder]), *at_work(folder_of(profile, root))])
                    continue
                if wait is None:
                    raise
            wait()
        folder = folder_of(profile, root)
        if folder != root:
            _link(folder, profile, root)
        _remove_torn_state(folder / "dvc.lock", root / FOLDER)
        write_pipeline(load_params(root / "params.yaml", profile), root, folder)
        _remove_torn_lock(folder)
        yield folder


@contextmanager
def _turn(profile: str, root: Path) -> Iterator[None]:
    """Hold a profile.

    Raises:
        BusyError: another run does, or works without holding it.
    """
    step = f"wait for it, or end it: `polite-flamingo run --profile {profile} --end-other`"
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / FOLDER / f"{profile}.lock"))
        except BusyError as error:
            raise BusyError(
                "another run of this profile is going on", value=error.value, where=f"profile {profile}", next_step=step
            ) from None
        others = at_work(folder_of(profile, root))
        if others:
            raise BusyError(
                "the pipeline of this profile is already at work", value=describe(others)[0],
                where=f"profile {profile}", next_step=step,
            )  # fmt: skip
        yield


def folder_of(profile: str, root: Path) -> Path:
    """Where DVC's state of a profile lies: `root` itself, or the profile's side project, which may not exist yet."""
    named = profile_of(root / "params.yaml") == profile
    return root if named and serves(root, load_params(root / "params.yaml", profile)) else root / FOLDER / profile


def profile_of(params: Path) -> str:
    """The profile that params.yaml names.

    Raises:
        ConfigError: it has no line ``profile: …``.
    """
    return _profile_line(params.read_text(encoding="utf-8"), params).group(2)


def with_profile(params: Path, profile: str) -> str:
    """Text of params.yaml as it would be with another profile."""
    text = params.read_text(encoding="utf-8")
    line = _profile_line(text, params)
    return text[: line.start(2)] + profile + text[line.end(2) :]


def remove_unused(root: Path, *, dry: bool = False) -> int:
    """Remove from DVC's cache what nothing uses any more.

    In use is what the workspace, a branch, a tag, an experiment or another profile's side project refers to. `dvc gc`
    does not know side projects, which share the cache; and they are in no git, which its ``--projects`` wants.

    Args:
        root: Top folder of the project.
        dry: Only count.

    Returns:
        Number of files.

    Raises:
        BusyError: DVC is at work here or in a side project. It does not lock while a stage runs: wait for its end.
    """
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc_data.hashfile.gc import gc

    for name in ("dvc", "dvc_data"):  # each file that goes, each output that a side project has not made yet
        logging.getLogger(name).setLevel(logging.ERROR)
    project = Repo(str(root))
    sides = [Repo(str(config.parent)) for config in sorted((root / FOLDER).glob("*/.dvc"))]
    with ExitStack() as held:
        for repo in (project, *sides):
            try:
                held.enter_context(repo.lock)
            except LockError:
                raise BusyError("DVC is at work", where=repo.root_dir, next_step="wait for it or stop it") from None
        used = project.used_objs(all_branches=True, all_tags=True, all_experiments=True, force=True)
        found = [*used.values(), *(ids for side in sides for ids in side.used_objs(force=True).values())]
        return int(gc(project.cache.local, set().union(*found), dry=dry))


def cache_folder(root: Path) -> Path:
    """Where DVC keeps the project's data."""
    from dvc.config import Config

    configured = Config(str(root / ".dvc"))["cache"].get("dir")
    return Path(configured) if configured else root / ".dvc" / "cache"


def cache_section(root: Path) -> str:
    """The section of DVC's configuration that names the project's cache, quoted: a path may hold ``,`` or ``#``."""
    folder = str(cache_folder(root))
    quote = "'" if '"' in folder else '"'
    return f"[cache]\n    dir = {quote}{folder}{quote}\n"


def _link(folder: Path, profile: str, root: Path) -> None:
    (folder / ".dvc").mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        (root / name).mkdir(exist_ok=True)
    entries = {entry.name for entry in root.iterdir()} - set(OWN)
    for link in folder.iterdir():
        if link.is_symlink() and link.name not in entries:
            link.unlink()
    shared = [*entries, *([PLOTS] if (root / PLOTS).is_dir() else [])]
    for link, original in ((folder / name, root / name) for name in shared):
        target = Path(os.path.relpath(original, link.parent.resolve()))
        if link.is_symlink() and link.readlink() != target:
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(target)
    write_atomic(folder / ".dvc" / "config", _CONFIG + cache_section(root))
    write_atomic(folder / "params.yaml", with_profile(root / "params.yaml", profile))


def _remove_torn_state(path: Path, kept: Path) -> None:
    """Set a dvc.lock aside that a kill has torn, for DVC writes it in place; its cache knows what has run.

    One that git could not merge is for a person to mend.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import ParseError, parse_yaml
    from voluptuous import Invalid

    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith("<<<<<<<") or "\n<<<<<<<" in text:
        return
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, path))
    except (ParseError, Invalid) as error:
        set_aside(path, f"a killed run has torn it: {str(error).splitlines()[0]}", kept)


def _remove_torn_lock(folder: Path) -> None:
    """Remove DVC's file of locks where a kill has torn it: DVC would refuse to work for ever.

    Also where it names none but processes that are gone, whose numbers may be those of others by now.
    """
    path = folder / ".dvc" / "tmp" / "rwlock"
    try:
        locks = json.loads(path.read_text(encoding="utf-8"))
        writers, readers = locks.get("write", {}).values(), locks.get("read", {}).values()
        named = {entry["pid"] for entry in (*writers, *(entry for entries in readers for entry in entries))}
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError, AttributeError):
        LOG.warning("%s was torn by a killed run and is removed", path)
        path.unlink(missing_ok=True)
        return
    if named and not any(map(runs_dvc, named)):
        path.unlink(missing_ok=True)


def _profile_line(text: str, params: Path) -> re.Match[str]:
    line = _PROFILE.search(text)
    if line is None:
        raise ConfigError("no profile is named", where=params, next_step="add a line `profile: tiny`")
    return line
