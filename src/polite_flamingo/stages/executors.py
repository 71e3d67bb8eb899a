"""Who answers the requests of the stages that generate text: a backend here, or a pool of them on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.params import Params
from polite_flamingo.rewrite.backends import Backend, Place, load_backend
from polite_flamingo.rewrite.backends.endpoint import EndpointOptions
from polite_flamingo.rewrite.engine import Executor, LocalExecutor

if TYPE_CHECKING:
    from polite_flamingo.model.generate import GenerationSettings
    from polite_flamingo.rewrite.shared import Shared


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
        endpoint=EndpointOptions(**runtime.endpoint.model_dump()),
        cache=Path(".work", "answers").resolve(),
    )
    factory = partial(make_backend, spec, settings, place, runtime.threads)
    if runtime.engine == "ray":
        from polite_flamingo.rewrite.cluster import RayExecutor

        return RayExecutor(
            factory,
            workers=runtime.workers,
            cpus_per_worker=runtime.threads,
            gpus_per_worker=runtime.gpus_per_worker,
            **_shared(runtime.shared, spec, settings, place, runtime.threads),
        )
    return LocalExecutor(factory())


def _shared(url: str | None, spec: str, settings: GenerationSettings, place: Place, threads: int) -> dict[str, Any]:
    """What the pool needs where nodes do not see this machine's paths: the models go to `url`, images follow."""
    from polite_flamingo.rewrite.shared import Shared

    if url is None:
        return {}
    shared = Shared(url)
    folders = {"base": place.base, "rewriter": place.rewriter} if spec == "flamingo" else {}
    names = {key: shared.publish_folder(folder) for key, folder in folders.items() if folder is not None}
    remote = partial(make_shared_backend, spec, settings, place, threads, names)
    return {"shared": shared, "remote_factory": remote, "image_root": place.image_root}


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
