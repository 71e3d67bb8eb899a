"""Prefect's server for the browsers of this machine alone: foreign names, origins and sites are refused.

By itself it answers any ``Host`` and any ``Origin``, so that a web page open in the same browser could start flows.
MLflow's server has settings for this (`mlflow_hosts`); Prefect's has one for CORS alone, which hides answers but runs
what was asked. ``python -m polite_flamingo.launch.guard --port 4200`` is ``prefect server start`` behind `Guard`.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polite_flamingo.callers import LOCAL, Callers, values

WHY = {
    "host": "refused: this server is not asked by that name",
    "origin": "refused: asked by a page of another origin",
    "site": "refused: asked by a page of another site",
}


class Guard:
    """Middleware that lets through what comes from the server's own pages and from programs.

    A request is refused where its ``Host`` names another machine (DNS rebinding), where its ``Origin`` is another than
    the ``Host``, and where a browser says it was made by another site, unless a person followed a link. Requests of
    programs have neither ``Origin`` nor ``Sec-Fetch-Site``. No other site may show the pages in a frame.

    Args:
        app: What is guarded.
        names: Host names it may be asked by, with any port: that of a tunnel.
        public: Further names, and origins: of a proxy in front.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str] = LOCAL, public: Sequence[str] = ()) -> None:
        self._app = app
        pages = {name.lower() for name in public}
        self._callers = Callers({*(name.lower() for name in names), *pages}, pages=pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        navigates = "navigate" in values(scope["headers"], b"sec-fetch-mode")
        strange = self._callers.strange(scope["headers"], followed=scope.get("method") == "GET" and navigates)
        if strange is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": WHY[strange]})
        else:
            await PlainTextResponse(WHY[strange], status_code=403)(scope, receive, send)


def _unframed(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-frame-options", b"SAMEORIGIN")]
        await send(message)

    return sent


def mlflow_hosts(names: Sequence[str] = LOCAL, public: Sequence[str] = ()) -> list[str]:
    """Options of MLflow's server for the same; its own defaults take names as ``10.example.org`` for private ones."""
    shown = [f"[[]{name}]" if ":" in name else name for name in (*names, *public)]  # patterns of fnmatch
    allowed = [pattern for name in shown for pattern in (name, f"{name}:*")]
    origins = [f"{scheme}://{name}" for name in public for scheme in ("https", "http")]
    return ["--allowed-hosts", ",".join(allowed), *(["--cors-allowed-origins", ",".join(origins)] if origins else [])]


@click.command()
@click.option("--host", default="127.0.0.1", help="address that is listened on")
@click.option("--port", type=int, default=4200)
@click.option("--public", multiple=True, metavar="NAME", help="a further name: of a container, of a proxy in front")
def main(host: str, port: int, public: tuple[str, ...]) -> None:
    """Prefect's server, with its pages, behind `Guard`; its settings come from the environment."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    uvicorn.run(
        Guard(create_app(final=True), public=public),
        host=host,
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=str(server.logging_level).lower(),
    )


if __name__ == "__main__":
    main()
