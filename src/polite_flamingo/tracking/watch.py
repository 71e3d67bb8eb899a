"""A thread beside a stage: signs of life, and figures of the machine once the stage takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

SHORT_SECONDS = 30.0  # stages that end before leave no figures of the machine
SAMPLE_SECONDS = 15.0
LIFE_SECONDS = 300.0


class Watch:
    """Runs until it is stopped; what fails in it is left out, for it must never disturb a stage.

    Args:
        sign: Says that the stage lives.
        monitor: Starts MLflow's monitor of CPU, memory, disk, network and GPUs, which is stopped by ``finish()``.
    """

    def __init__(self, sign: Callable[[], object], monitor: Callable[[], Any]) -> None:
        self._sign = sign
        self._monitor = monitor
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and send what was measured."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        if self._ended.wait(SHORT_SECONDS):
            return
        started: Any = None
        with suppress(Exception):
            started = self._monitor()
        signed = time.monotonic() - SHORT_SECONDS
        while not self._ended.wait(max(0.0, signed + LIFE_SECONDS - time.monotonic())):
            signed = time.monotonic()
            with suppress(Exception):
                self._sign()
        if started is not None:
            with suppress(Exception):
                started.finish()
