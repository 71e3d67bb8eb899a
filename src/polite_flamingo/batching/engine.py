"""The engine: one thread that owns a model and runs its continuous batch, fed with requests while it runs.

A request's text does not depend on what shares the batch: greedy, it is that of `model.generate.generate` for it alone;
sampled, it depends on its seed and key. Requests join as others end, clients in turn; those that come within a few
steps are read together. A request that was cancelled or has taken too long leaves after the step that runs. When memory
runs out the rows in flight start again in half as many slots, and no piece of text is told twice. Not implemented:
beams, and swapping rows out of memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polite_flamingo.batching.models import BatchModel, PreparedImage, PreparedRequest, pixels_of, prepared
from polite_flamingo.batching.text import TextStream
from polite_flamingo.batching.tickets import (
    EngineClosedError,
    EngineRequest,
    QueueFullError,
    Ticket,
)
from polite_flamingo.batching.turns import PATIENCE, FairQueue, Pace
from polite_flamingo.errors import ModelError, PoliteFlamingoError
from polite_flamingo.model.rows import DecodingRow, out_of_memory
from polite_flamingo.model.slots import PREFILL_TOKENS, Slots, too_large

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as PILImage

LOG = logging.getLogger(__name__)
SLOTS, QUEUE = 32, 256
ROOM = 1024  # columns beyond which an idle batch gives its memory back
GATHER = 3  # most steps of the rows in flight that a prompt waits for others to be read with


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine is doing.

    Args:
        running: Rows in flight.
        waiting: Requests in the queue.
        slots: Most rows at a time.
        steps: Steps of decoding so far.
        prompt_tokens: Tokens read so far.
        tokens: Tokens generated so far.
        out_of_memory: How often memory ran out.
    """

    running: int
    waiting: int
    slots: int
    steps: int
    prompt_tokens: int
    tokens: int
    out_of_memory: int


@dataclass(eq=False, slots=True)
class _Job:
    """A request with its row."""

    ticket: Ticket
    row: DecodingRow
    images: tuple[PreparedImage, ...]
    stream: TextStream
    seen: int = 0  # tokens that went to the stream


class Engine:
    """Continuous batching of requests.

    Args:
        model: What continues them; the engine must be its only user.
        slots: Most requests at a time.
        queue: Most requests waiting.
        after_turn: Called in the engine's thread when all tickets of a turn were told.
    """

    def __init__(
        self,
        model: BatchModel,
        *,
        slots: int = SLOTS,
        queue: int = QUEUE,
        after_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self._after_turn = after_turn
        local = model.causal.local_window
        self._most = slots if local is None else 1  # local attention that counts columns: no shared steps
        self._now = self._most  # fewer after memory ran out
        self._queue = queue
        self._waiting: FairQueue[_Job] = FairQueue()
        self._running: dict[int, _Job] = {}
        self._batch: Slots | None = None
        self._changed = threading.Condition()
        self._closing = self._abandoned = False
        self._number = 0
        self._read = 0  # steps until prompts were read last
        self._pace = Pace()
        self._counts = {"steps": 0, "prompt_tokens": 0, "tokens": 0, "out_of_memory": 0}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, notify: Callable[[], None] | None = None) -> Ticket:
        """Queue a request.

        Args:
            request: What to continue.
            notify: Called, in the engine's thread, whenever the ticket has something new.

        Raises:
            QueueFullError: the queue is full.
            EngineClosedError: no more requests are taken.
            PromptTooLongError: no room is left to answer.
            DataError: the prompt does not show its images, or asks for beams.
        """
        self._admit()  # before the work of preparing it
        return self.take(prepared(self.model, request), notify)

    def take(self, prepared: PreparedRequest, notify: Callable[[], None] | None = None) -> Ticket:
        """Queue a request whose prompt and images are prepared.

        Raises:
            QueueFullError: the queue is full.
            EngineClosedError: no more requests are taken.
        """
        request, ids, images = prepared.request, prepared.ids, prepared.images
        ticket = Ticket(request, len(ids), notify)
        limit = min(request.settings.max_new_tokens, self.model.context - len(ids))
        stream = TextStream(self.model.tokenizer, self.model.decode, request.stop)
        with self._changed:
            self._admit()
            self._number += 1
            keys = tuple(image.key for image in images)
            row = DecodingRow(self._number, ids, keys, request.key, limit, request.settings, request.min_tokens)
            self._waiting.put(request.client, _Job(ticket, row, images, stream))
            self._changed.notify_all()
        return ticket

    def count(self, prompt: str, images: Sequence[PILImage]) -> int:
        """Tokens of a prompt."""
        return len(self.model.encode(prompt, images)[0])

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its continuation."""
        return self.model.context

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(self.model.causal.device)

    @property
    def state(self) -> EngineState:
        """What it is doing now."""
        with self._changed:
            return EngineState(len(self._running), len(self._waiting), self._now, **self._counts)

    @property
    def alive(self) -> bool:
        """True while its thread runs and takes requests."""
        return self._thread.is_alive() and not self._closing

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Take no more requests and end.

        Args:
            finish: True: what was taken is finished first; False: it fails with `EngineClosedError`.
            timeout: Seconds after which what is left fails too; None: no bound.
        """
        with self._changed:
            self._closing = True
            self._abandoned = self._abandoned or not finish
            self._changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._changed:
                self._abandoned = True
                self._changed.notify_all()
            self._thread.join(PATIENCE)

    def _admit(self) -> None:
        if self._closing or not self._thread.is_alive():
            raise EngineClosedError
        if len(self._waiting) >= self._queue:
            raise QueueFullError(len(self._waiting), self._pace.wait(len(self._waiting), self._most))

    def _run(self) -> None:
        try:
            with self.model.running():
                while self._await_work():
                    self._turn()
                    self._after_turn()
        except BaseException:
            LOG.exception("the engine stopped")
            raise
        finally:
            with self._changed:
                self._closing = True
                left = [*self._running.values(), *self._waiting.drop(lambda _: True)]
                self._running.clear()
            self._fail(left, EngineClosedError(taken=True))
            self._after_turn()
            if self._batch is not None:
                self._batch.close()

    def _await_work(self) -> bool:
        """Wait until there is something to do; False: it is over."""
        with self._changed:
            while not self._running and not self._waiting and not self._closing:
                self._now = self._most
                self._changed.wait()
            return not self._abandoned and bool(self._running or len(self._waiting))

    def _turn(self) -> None:
        """Let requests go and come, then one token for each."""
        self._let_go()
        try:
            batch = self._slots()
            entering = self._next(batch)
            if entering:
                rows = [job.row for job in entering]
                self._counts["prompt_tokens"] += sum(len(row.ids) for row in rows)
                self._told(list(batch.enter(rows)))
            if batch.rows:
                ended = list(batch.step())
                self._counts["steps"] += 1
                self._told(ended)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                self._start_again(error)
            else:
                self._give_up(error)
        except Exception as error:
            self._give_up(error)

    def _slots(self) -> Slots:
        idle = self._batch is not None and not self._batch.rows
        if self._batch is not None and idle and (self._batch.columns > ROOM or self._batch.free != self._now):
            self._batch.close()
            self._batch = None
        if self._batch is None:
            self._batch = Slots(self.model.causal, self._now, self.model.prefix, self._latents)
        return self._batch

    def _latents(self, keys: Sequence[str]) -> torch.Tensor:
        pixels = pixels_of([image for job in self._running.values() for image in job.images])
        return self.model.latents(keys, pixels)

    def _let_go(self) -> None:
        """Take out what was cancelled or has taken too long."""
        with self._changed:
            gone = self._waiting.drop(lambda job: job.ticket.fault is not None)
        leaving = [job for job in self._running.values() if job.ticket.fault is not None]
        if leaving and self._batch is not None:
            self._batch.remove(job.row for job in leaving)
        for job in [*gone, *leaving]:
            self._running.pop(job.row.index, None)
            if (fault := job.ticket.fault) is not None:
                job.ticket.finish(fault)

    def _next(self, batch: Slots) -> list[_Job]:
        """The requests that enter now."""
        entering: list[_Job] = []
        longest = 0
        with self._changed:
            gathering = batch.rows and self._counts["steps"] < self._read + GATHER
            if gathering or not batch.wants(len(self._waiting)):
                return []
            self._read = self._counts["steps"]
            while len(entering) < batch.free and (job := self._waiting.first()) is not None:
                longest = max(longest, len(job.row.ids))
                if (entering or batch.rows) and longest * (len(entering) + 1) > PREFILL_TOKENS:
                    break
                entering.append(self._waiting.take())
            self._running.update((job.row.index, job) for job in entering)
        return entering

    def _told(self, ended: Sequence[DecodingRow]) -> None:
        """Hand out the text of the tokens that came; rows that ended, or came to a stop text, are done.

        Who waits is told when all have theirs: each telling may cost this thread Python's lock.
        """
        over = {row.index for row in ended}
        now = time.monotonic()
        stopped: list[_Job] = []
        finished: list[_Job] = []
        going: list[_Job] = []
        for job in list(self._running.values()):
            new = job.row.output[job.seen :]
            if not new:
                continue
            job.seen += len(new)
            self._counts["tokens"] += len(new)
            job.ticket.first_token = job.ticket.first_token or now
            if job.row.index in over:
                finished.append(job)
                continue
            job.ticket.add(job.stream.push(new))
            (stopped if job.stream.stopped else going).append(job)
        if stopped and self._batch is not None:
            self._batch.remove(job.row for job in stopped)
        for job in (*finished, *stopped):
            self._finish(job)
        for job in going:
            job.ticket.tell()

    def _finish(self, job: _Job) -> None:
        self._running.pop(job.row.index, None)
        self._pace.ended(time.monotonic() - job.ticket.submitted)
        job.ticket.complete(job.stream, job.row.output, self.model.causal.ends)

    def _start_again(self, error: BaseException) -> None:
        """Memory ran out: what is in flight waits again, before all others, for half as many slots."""
        import torch

        jobs = sorted(self._running.values(), key=lambda job: job.row.index)
        self._drop_batch()
        self._counts["out_of_memory"] += 1
        if len(jobs) <= 1:
            self._fail(jobs, too_large(jobs[0].row if jobs else None))
        else:
            self._now = max(1, len(jobs) // 2)
            LOG.warning("out of memory with %d requests at a time: going on with %d", len(jobs), self._now)
            with self._changed:
                for job in reversed(jobs):
                    job.seen = 0
                    job.row.output = []
                    job.stream.restart()
                    self._waiting.put_back(job.ticket.request.client, job)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _give_up(self, error: Exception) -> None:
        """An error that is nobody's request's: what is in flight fails, the engine goes on."""
        LOG.error("requests in flight failed", exc_info=error)
        jobs = list(self._running.values())
        self._drop_batch()
        unknown = ModelError("the model failed", value=type(error).__name__)
        self._fail(jobs, error if isinstance(error, PoliteFlamingoError) else unknown)

    def _drop_batch(self) -> None:
        if self._batch is not None:
            self._batch.close()
        self._batch = None
        self._running.clear()

    def _fail(self, jobs: Sequence[_Job], error: PoliteFlamingoError) -> None:
        for job in jobs:
            job.ticket.finish(error)
