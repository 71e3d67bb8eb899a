"""Who answers the requests of the stages that generate text: a backend here, or a pool of them on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.jobs.backends import Backend, Place, load_backend
from polite_flamingo.jobs.engine import Executor, LocalExecutor
from polite_flamingo.params import Params

if TYPE_CHECKING:
    from polite_flamingo.jobs.shared import Shared
    from polite_flamingo.model.settings import GenerationSettings


def make_executor(params: Params, spec: str, settings: GenerationSettings) -> Executor:
    """A backend in this process, or a pool of them on a Ray cluster (``runtime.engine``).

    Args:
        params: The resolved parameters.
        spec: What answers, see `rewrite.backends.load_backend`.
        settings: Decoding.

    Raises:
        ConfigError: the spec is unknown.
    """
    runtime = params.runtime
    place = Place(  # absolute paths: workers have other working directories
        params.image_root.resolve(),
        batch_size=runtime.generation_batch_size,
        device=runtime.device,
        dtype=runtime.dtype,
        token_budget=runtime.token_budget,
        compiled=runtime.compile,
        base=(params.models / "backbones" / "flamingo").resolve(),
        rewriter=(params.models / "rewriter").resolve(),
        endpoint=runtime.endpoint,
        cache=Path(".work", "answers").resolve(),
    )

    def published(shared: Shared) -> Callable[[Shared, Path], Backend]:
        folders = {"base": place.base, "rewriter": place.rewriter} if spec == "flamingo" else {}
        names = {key: shared.publish_folder(folder) for key, folder in folders.items() if folder is not None}
        return partial(make_shared_backend, spec, settings, place, runtime.threads, names)

    return start_executor(params, partial(make_backend, spec, settings, place, runtime.threads), published)


def start_executor(
    params: Params,
    factory: Callable[[], Backend],
    published: Callable[[Shared], Callable[[Shared, Path], Backend]],
) -> Executor:
    """The backend of `factory` in this process, or a pool of them on a Ray cluster (``runtime.engine``).

    Args:
        params: The resolved parameters.
        factory: Makes the backend; picklable.
        published: Puts its models into the storage of a cluster whose nodes do not see this machine's paths
            (``runtime.shared``), and says what makes the backend there from that storage and the images' folder.

    Raises:
        ConfigError: Ray is not installed or the cluster cannot be reached.
    """
    runtime = params.runtime
    if runtime.engine != "ray":
        return LocalExecutor(factory())
    from polite_flamingo.jobs.ray_pool import RayExecutor
    from polite_flamingo.jobs.shared import Shared

    elsewhere: dict[str, Any] = {}
    if runtime.shared is not None:
        shared = Shared(runtime.shared)
        elsewhere = {"shared": shared, "remote_factory": published(shared), "image_root": params.image_root.resolve()}
    return RayExecutor(
        factory,
        workers=runtime.workers,
        cpus_per_worker=runtime.threads,
        gpus_per_worker=runtime.gpus_per_worker,
        **elsewhere,
    )


def make_shared_backend(
    spec: str,
    settings: GenerationSettings,
    place: Place,
    threads: int,
    names: Mapping[str, str],
    shared: Shared,
    image_root: Path,
) -> Backend:
    """`make_backend` on a node: models come from the shared storage, images are below `image_root`."""
    cache = Path.home() / ".cache" / "polite-flamingo"
    folders: dict[str, Any] = {key: shared.fetch_folder(name, cache) for key, name in names.items()}
    return make_backend(spec, settings, replace(place, image_root=image_root, cache=None, **folders), threads)


def make_backend(spec: str, settings: GenerationSettings, place: Place, threads: int) -> Backend:
    """The model that rewrites; it loads its weights when it is first asked."""
    import torch

    torch.set_num_threads(threads)
    return load_backend(spec, settings, place)
