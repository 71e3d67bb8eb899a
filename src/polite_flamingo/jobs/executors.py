"""The choice of an executor: a backend in this process, or a pool of them on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from polite_flamingo.jobs.executor import Executor, LocalExecutor
from polite_flamingo.jobs.questions import A, Backend, Q
from polite_flamingo.jobs.settings import MachineSettings
from polite_flamingo.jobs.shared import Shared

CACHE = Path.home() / ".cache" / "polite-flamingo"  # models from shared storage, on a node


def open_executor(
    machine: MachineSettings,
    factory: Callable[[], Backend[Q, A]],
    image_root: Path,
    publish: Callable[[Shared], Callable[[Shared, Path], Backend[Q, A]]],
) -> Executor[Q, A]:
    """The backend of `factory` in this process, or a pool of them on a Ray cluster.

    Args:
        machine: Says which, and how many workers.
        factory: Makes the backend; picklable.
        image_root: Folder of the image paths on this machine.
        publish: Puts its models into the storage of a cluster whose nodes do not see this machine's paths
            (``runtime.shared``), and returns what makes the backend there from that storage and the images' folder.

    Raises:
        ConfigError: Ray is not installed or the cluster cannot be reached.
    """
    if machine.engine != "ray":
        return LocalExecutor(factory())
    from polite_flamingo.jobs.ray_pool import RayExecutor

    remote: dict[str, Any] = {}
    if machine.shared is not None:
        shared = Shared(machine.shared)
        remote = {"shared": shared, "remote_factory": publish(shared), "image_root": image_root.resolve()}
    return RayExecutor(
        factory,
        workers=machine.workers,
        cpus_per_worker=machine.threads,
        gpus_per_worker=machine.gpus_per_worker,
        **remote,
    )
