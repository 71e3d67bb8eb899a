"""uvicorn with time-outs for connections that send nothing, and a stop that lets running requests end.

On SIGTERM the server goes on listening: new requests are answered 503 until the running ones have ended, so that no
client meets a closed port while another one is still served.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from polite_flamingo.errors import BusyError, ConfigError
from polite_flamingo.serving.settings import ServingSettings

LOG = logging.getLogger(__name__)
HEAD = 32 * 1024  # bytes of a request's head
TICK = 0.05


def timed_protocol(seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 that ends a connection whose request's head does not come within some seconds."""

    class TimedProtocol(H11Protocol):
        """The connection's head is awaited from its start, and again after each answer (`timeout_keep_alive`)."""

        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head = self.loop.call_later(seconds, self._no_head)

        def data_received(self, data: bytes) -> None:
            answered = self.cycle is None or self.cycle.response_complete
            super().data_received(data)
            asked = self.cycle is not None and not self.cycle.response_complete
            if asked:
                self._clear_head()
            elif answered and self._head is None and not self.transport.is_closing():
                self._head = self.loop.call_later(seconds, self._no_head)

        def connection_lost(self, exc: Exception | None) -> None:
            self._clear_head()
            super().connection_lost(exc)

        def _clear_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _no_head(self) -> None:
            self._head = None
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.close()

    return TimedProtocol


class DrainingServer(uvicorn.Server):
    """A server that ends when its requests have.

    Args:
        config: uvicorn's.
        drain: Called when it is to stop: from then on new requests are refused.
        active: Number of requests being answered.
        grace: Seconds they have.
    """

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], None], active: Callable[[], int], grace: float
    ) -> None:
        super().__init__(config)
        self._drain, self._active, self._grace = drain, active, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the running requests, answering new ones 503; then close."""
        self._drain()
        LOG.info("stopping: %d requests are being answered", self._active())
        until = asyncio.get_running_loop().time() + self._grace
        while self._active() and asyncio.get_running_loop().time() < until and not self.force_exit:
            await asyncio.sleep(TICK)
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would raise them again: a stop that was asked for is no failure


def config_of(app: Any, settings: ServingSettings) -> uvicorn.Config:
    """Uvicorn's configuration: HTTP/1.1 alone, no proxy is believed, no log of paths or bodies."""
    limits = settings.limits
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=timed_protocol(limits.header_seconds),
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=5,
        backlog=2048,
    )


def listen(settings: ServingSettings) -> socket.socket:
    """A bound socket.

    Raises:
        BusyError: the port is taken.
        ConfigError: it is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named, for asyncio sends small packets at once (no 40 ms for a stream's first token) where the protocol is told.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((settings.host, settings.port))
    except OSError as error:
        found.close()
        where = f"{settings.host}:{settings.port}"
        if isinstance(error, socket.gaierror) or "assign" in str(error):
            raise ConfigError("not an address of this machine", value=where, where="--host") from error
        raise BusyError("the port cannot be used", value=where, next_step="choose another: --port") from error
    return found


def allow_connections() -> None:
    """As many open files as this process may have: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
