"""Jobs on a Ray cluster: a pool of actors, each holding the model once. The only importer of Ray.

The driver keeps at most two calls at each worker, so a lost worker or node costs those: they go to the others, and
another worker is hired in its place as soon as the cluster has room. The journal stays with the driver, which makes a
job on a cluster the same job as one on a laptop. Ray's own restarts are off: an actor that waits for room would hold
its calls back.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.executor import BATCHES_PER_CALL, Call
from polite_flamingo.jobs.questions import A, Backend, Failure, Q
from polite_flamingo.jobs.ray_cluster import connect, prepare_environment, worker_error
from polite_flamingo.jobs.shared import Shared
from polite_flamingo.jobs.worker import Worker

LOG = logging.getLogger(__name__)

CALLS_PER_WORKER = 2  # one at work, one waiting
LOSSES = 2  # a call lost this often is halved each time it is lost again, to find the record that kills workers
LOSSES_IN_A_ROW = 12  # lost workers without one finished call between them that end a run
PATIENCE_SECONDS = 1800.0  # for the first worker, and for another when all are lost
WAIT_SECONDS = 30.0
CLOSE_SECONDS = 10.0


@dataclass(slots=True)
class _Member:
    actor: Any
    calls: dict[Any, Call[Any]] = field(default_factory=dict)  # by reference of the result


class RayExecutor(Generic[Q, A]):
    """A pool of workers on the cluster that ``RAY_ADDRESS`` names, or on this machine where it is unset.

    Args:
        factory: Makes the backend, here (for its identity) and on every node; must be picklable.
        workers: Actors to keep.
        cpus_per_worker: Cores each claims.
        gpus_per_worker: GPUs each claims; a fraction shares one.
        call_size: Requests per call; None: a few of the backend's batches.
        shared: Storage for a cluster whose nodes do not see this machine's paths; needs `remote_factory` and
            `image_root`.
        remote_factory: Makes the backend on a node, from the shared storage and the worker's image folder.
        image_root: Folder of the image paths on this machine.

    Raises:
        ConfigError: Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self,
        factory: Callable[[], Backend[Q, A]],
        *,
        workers: int,
        cpus_per_worker: float = 1,
        gpus_per_worker: float = 0,
        call_size: int | None = None,
        shared: Shared | None = None,
        remote_factory: Callable[[Shared, Path], Backend[Q, A]] | None = None,
        image_root: Path | None = None,
    ) -> None:
        prepare_environment()
        try:
            import ray
        except ImportError:
            raise ConfigError(
                "Ray is not installed",
                value="ray",
                where="runtime.engine",
                next_step="pip install 'polite-flamingo[ray]', or set runtime.engine to local",
            ) from None
        self._ray = ray
        backend = factory()
        self.identity = backend.identity
        self.call_size = call_size or BATCHES_PER_CALL * backend.batch_size
        backend.close()
        self._factory: Callable[..., Backend[Q, A]] = factory if remote_factory is None else remote_factory
        self._shared, self._image_root = shared, image_root
        self._workers = workers
        self._claim = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            connect(ray)
        self._starting: dict[Any, _Member] = {}  # by reference of `ready`
        self._ready: list[_Member] = []
        self._lost: deque[Call[Q]] = deque()
        self._times_lost: dict[int, int] = {}  # by index of a call's first unit
        self._losses_in_a_row = 0
        self.workers_lost = 0
        self.calls_lost = 0

    def map(self, calls: Iterable[Call[Q]]) -> Iterator[tuple[Call[Q], Sequence[A | Failure]]]:
        """Answer calls on the cluster, as they are finished.

        Raises:
            ModelError: the model cannot be used on a node, workers keep dying, or none can be hired.
        """
        source = iter(calls)
        exhausted = False
        idle_since = time.monotonic()
        while True:
            self._hire()
            for worker in self._ready:
                while len(worker.calls) < CALLS_PER_WORKER:
                    call = self._lost.popleft() if self._lost else None if exhausted else next(source, None)
                    if call is None:
                        exhausted = True
                        break
                    worker.calls[self._send(worker, call)] = call
            owners = {reference: worker for worker in self._ready for reference in worker.calls}
            if exhausted and not owners and not self._lost:
                return
            if not self._ready and not exhausted and not self._lost:
                # nothing is computed while nobody is there, but a job without work must still end
                call = next(source, None)
                exhausted = call is None
                if call is not None:
                    self._lost.append(call)
                continue
            if self._ready:
                idle_since = time.monotonic()
            waiting = [*owners, *self._starting]
            done, _ = self._ray.wait(waiting, num_returns=1, timeout=WAIT_SECONDS)
            if not done:
                self._check_patience(time.monotonic() - idle_since)
            for reference in done:
                if reference in self._starting:
                    self._welcome(reference)
                elif reference in owners and reference in owners[reference].calls:
                    yield from self._collect(owners[reference], reference)

    def close(self) -> None:
        """Dismiss the workers; a Ray that this executor started or joined is left."""
        if idle := [worker.actor.close.remote() for worker in self._ready if not worker.calls]:
            self._ray.wait(idle, num_returns=len(idle), timeout=CLOSE_SECONDS)
        for worker in [*self._ready, *self._starting.values()]:
            self._kill(worker)
        self._ready.clear()
        self._starting.clear()
        if self._owns_ray:
            self._ray.shutdown()

    def _send(self, worker: _Member, call: Call[Q]) -> Any:
        questions = call.questions
        images: dict[str, str] = {}
        if self._shared is not None and self._image_root is not None:
            paths = dict.fromkeys(path for question in questions for path in question.images)
            images = self._shared.publish_images(self._image_root, paths)
        return worker.actor.answer.remote(questions, images)

    def _hire(self) -> None:
        while len(self._ready) + len(self._starting) < self._workers:
            actor_class = self._ray.remote(max_restarts=0, max_task_retries=0, **self._claim)(Worker)
            member = _Member(actor_class.remote(self._factory, self._shared))
            self._starting[member.actor.ready.remote()] = member

    def _welcome(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        try:
            identity = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise worker_error(error, "the model cannot be used on a node") from error
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error)
            return
        if identity != self.identity:
            raise ModelError(
                "a node holds another model than this machine",
                value=(identity, self.identity),
                where=str(self._ray.util.get_node_ip_address()),
                next_step="give all nodes the same files (shared storage) and the same version of this package",
            )
        self._ready.append(worker)

    def _collect(self, worker: _Member, reference: Any) -> Iterator[tuple[Call[Q], Sequence[A | Failure]]]:
        try:
            answers = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise worker_error(error, "a worker failed") from error
        except self._ray.exceptions.RayError as error:
            self._ready.remove(worker)
            yield from self._lose(worker, error)
            return
        call = worker.calls.pop(reference)
        self._times_lost.pop(call.units[0].index, None)
        self._losses_in_a_row = 0
        yield call, answers

    def _lose(self, worker: _Member, error: Exception) -> list[tuple[Call[Q], Sequence[A | Failure]]]:
        """Put the calls of a lost worker back; returns those that are settled: finished before, or given up."""
        self._kill(worker)
        settled = self._finished_before(worker)
        self.workers_lost += 1
        self.calls_lost += len(worker.calls)
        self._losses_in_a_row = 0 if settled else self._losses_in_a_row + 1
        reason = " ".join(str(error).split())[:300]
        LOG.warning("a worker is lost with %d calls, which go to others: %s", len(worker.calls), reason)
        if self._losses_in_a_row >= LOSSES_IN_A_ROW:
            raise ModelError(
                f"{self._losses_in_a_row} workers were lost without one finished call between them",
                value=reason,
                next_step="look at the memory of the nodes and the logs of the workers; finished records are kept",
            )
        for position, call in enumerate(worker.calls.values()):
            if position > 0:  # it was waiting behind the one at work and has nothing to do with the loss
                self._lost.append(call)
                continue
            times = self._times_lost.pop(call.units[0].index, 0) + 1
            parts = [call]
            if times > LOSSES and len(call.units) == 1:
                LOG.warning("%s loses its workers and is given up", call.units[0].question.key)
                settled.append((call, [Failure(f"error: the worker was lost {times} times")]))
                continue
            if times > LOSSES:
                middle = len(call.units) // 2
                parts = [Call(call.shard, call.units[:middle]), Call(call.shard, call.units[middle:])]
            for part in parts:
                self._times_lost[part.units[0].index] = times
            self._lost.extend(parts)
        worker.calls.clear()
        return settled

    def _finished_before(self, worker: _Member) -> list[tuple[Call[Q], Sequence[A | Failure]]]:
        """Calls whose answers arrived before their worker was lost."""
        finished: list[tuple[Call[Q], Sequence[A | Failure]]] = []
        for reference in list(worker.calls):
            if self._ray.wait([reference], num_returns=1, timeout=0)[0]:
                with suppress(self._ray.exceptions.RayError):
                    answers = self._ray.get(reference)
                    finished.append((worker.calls.pop(reference), answers))
        return finished

    def _check_patience(self, idle: float) -> None:
        if self._ready:
            return
        LOG.warning(
            "waiting for room for a worker (%s) for %.0f s; free on the cluster: %s",
            self._claim,
            idle,
            {k: v for k, v in self._ray.available_resources().items() if k in ("CPU", "GPU")},
        )
        if idle > PATIENCE_SECONDS:
            raise ModelError(
                "no worker could be hired",
                value=self._claim,
                next_step="add nodes or lower runtime.threads and runtime.gpus_per_worker; finished records are kept",
            )

    def _kill(self, worker: _Member) -> None:
        try:
            self._ray.kill(worker.actor, no_restart=True)
        except Exception as error:  # it is gone already, or the cluster is
            LOG.debug("worker could not be dismissed: %s", error)
