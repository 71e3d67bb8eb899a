"""From a spec in a profile to a backend, and to an executor of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.jobs.backends.chat_completion import KEY_VARIABLE
from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.backends.text import TextBackend
from polite_flamingo.jobs.executor import Executor
from polite_flamingo.jobs.executors import CACHE, open_executor
from polite_flamingo.jobs.questions import A, Backend, Q
from polite_flamingo.jobs.settings import TextMachineSettings
from polite_flamingo.jobs.shared import Shared
from polite_flamingo.plugins import load, named

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

FLAMINGO = "flamingo"  # trained by the pipeline
SHIPPED = "laptop"  # with the package
FORMS = "flamingo, laptop, hf:<folder or id@revision>, openai:<base url>#<model>"
ANSWERS = Path(".work", "answers")  # of endpoints


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a backend needs to know of the machine it runs on, and where things lie; it can be sent to a worker.

    Args:
        image_root: Folder of the image paths.
        machine: Device, batches, bounds.
        base: Folder of the Flamingo the rewriter was trained from; needed by ``flamingo``.
        rewriter: Folder of the trained tensors; needed by ``flamingo``.
        cache: Folder that keeps an endpoint's answers; None: they are not kept.
        schema: JSON schema that the answers of an endpoint have to follow, if it can see to that; None: plain text.
    """

    image_root: Path
    machine: TextMachineSettings
    base: Path | None = None
    rewriter: Path | None = None
    cache: Path | None = None
    schema: Mapping[str, Any] | None = None


def backend_options(machine: TextMachineSettings, image_root: Path, models: Path) -> BackendOptions:
    """The options of a profile; absolute paths, because workers have other working directories.

    Args:
        machine: The profile's.
        image_root: Folder of the image paths.
        models: Folder of the profile's models.
    """
    return BackendOptions(
        image_root.resolve(),
        machine,
        base=(models / "backbones" / "flamingo").resolve(),
        rewriter=(models / "rewriter").resolve(),
        cache=ANSWERS.resolve(),
    )


def open_text_executor(
    spec: str, settings: GenerationSettings, options: BackendOptions, use: Callable[[TextBackend], Backend[Q, A]]
) -> Executor[Q, A]:
    """A backend in this process, or a pool of them on a Ray cluster (``runtime.engine``).

    Args:
        spec: What answers, see `load_backend`.
        settings: Decoding.
        options: Machine and folders.
        use: What becomes of the backend; picklable (`text.as_it_is`, or a repair around it).

    Raises:
        ConfigError: the spec is unknown, or there is no cluster.
    """

    def publish(shared: Shared) -> Callable[[Shared, Path], Backend[Q, A]]:
        folders = {"base": options.base, "rewriter": options.rewriter} if spec == FLAMINGO else {}
        names = {key: shared.publish_folder(folder) for key, folder in folders.items() if folder is not None}
        return partial(fetch_backend, spec, settings, options, use, names)

    return open_executor(
        options.machine, partial(make_backend, spec, settings, options, use), options.image_root, publish
    )


def make_backend(
    spec: str, settings: GenerationSettings, options: BackendOptions, use: Callable[[TextBackend], Backend[Q, A]]
) -> Backend[Q, A]:
    """The backend of a worker, or of this process; it loads its weights when it is first asked."""
    if not spec.startswith("openai:"):  # whose model runs elsewhere
        import torch

        torch.set_num_threads(options.machine.threads)
    return use(load_backend(spec, settings, options))


def fetch_backend(
    spec: str,
    settings: GenerationSettings,
    options: BackendOptions,
    use: Callable[[TextBackend], Backend[Q, A]],
    names: Mapping[str, str],
    shared: Shared,
    image_root: Path,
) -> Backend[Q, A]:
    """`make_backend` on a node: models come from the shared storage, images are below `image_root`."""
    folders: dict[str, Any] = {key: shared.fetch_folder(name, CACHE) for key, name in names.items()}
    return make_backend(spec, settings, replace(options, image_root=image_root, cache=None, **folders), use)


def load_backend(spec: str, settings: GenerationSettings, options: BackendOptions) -> TextBackend:
    """Make the backend `spec` names; weights are read at the first question. The endpoint's key: ``OPENAI_API_KEY``.

    Args:
        spec: ``flamingo``, ``laptop``, ``hf:<folder or id@revision>``, ``openai:<base url>#<model>`` or
            ``<plug-in>:<anything>``.
        settings: Decoding.
        options: Machine and folders.

    Raises:
        ConfigError: the spec has none of these forms.
    """
    kind, _, rest = spec.partition(":")
    machine = options.machine
    if spec == FLAMINGO and options.base is not None and options.rewriter is not None:
        from polite_flamingo.jobs.backends.flamingo import FlamingoBackend

        return FlamingoBackend(options.base, options.rewriter, settings, options.image_root, machine)
    if spec == SHIPPED:
        from polite_flamingo.jobs.backends.laptop import LaptopBackend

        return LaptopBackend(settings, options.image_root, machine)
    if kind == "hf" and rest:
        from polite_flamingo.jobs.backends.huggingface import HuggingFaceBackend

        return HuggingFaceBackend(rest, settings, options.image_root, machine)
    if kind == "openai" and "#" in rest:
        url, _, model = rest.rpartition("#")
        if url and model:
            return EndpointBackend(
                url,
                model,
                settings,
                options.image_root,
                key=os.environ.get(KEY_VARIABLE) or None,
                endpoint=machine.endpoint,
                cache=options.cache,
                schema=options.schema,
            )
    if kind in named("backends"):
        plugged: TextBackend = load("backends", kind)(rest, settings, options)
        return plugged
    raise ConfigError("unknown backend", value=spec, next_step=f"one of: {FORMS}")
