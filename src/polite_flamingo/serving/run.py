"""From names of models to a server that listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from polite_flamingo.serving.app import build_app
from polite_flamingo.serving.keys import api_keys
from polite_flamingo.serving.server import DrainingServer, allow_connections, config_of, listen
from polite_flamingo.serving.service import Service, served_models
from polite_flamingo.serving.settings import ServingSettings
from polite_flamingo.talk.models import find_model, load_model

LOG = logging.getLogger(__name__)


def serve_models(
    names: Sequence[str],
    settings: ServingSettings,
    *,
    ready: Callable[[str, Sequence[str]], None],
    base: Path | None = None,
    profile: str | None = None,
    params: Path = Path("params.yaml"),
    device: str = "auto",
    dtype: str | None = None,
    key_file: Path | None = None,
) -> int:
    """Load models and serve them until SIGTERM or Ctrl-C.

    Args:
        names: Of the models (`talk.models.find_model`).
        settings: Of the server.
        ready: Called with the address and the models' names once it listens.
        base: Folder of the Flamingo under a folder's weights.
        profile: Of the names of trained models.
        params: The project's params file.
        device: Where the models go.
        dtype: Number type of their weights.
        key_file: File of API keys.

    Returns:
        Exit status.

    Raises:
        ConfigError: no such model, a key is needed, or the address is not this machine's.
        BusyError: the port is taken.
    """
    keys = api_keys(key_file, settings.host)
    places = [find_model(name, base=base, profile=profile, params=params) for name in dict.fromkeys(names)]
    found = listen(settings)
    try:
        loaded = [(place, load_model(place, device=device, dtype=dtype)) for place in places]
        service = Service(served_models(loaded, settings), settings.limits)
    except BaseException:
        found.close()
        raise
    allow_connections()
    app, routes = build_app(service, settings, keys)

    def drain() -> None:
        routes.draining = True

    server = DrainingServer(config_of(app, settings), drain, lambda: routes.active, settings.grace)
    host, port = found.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}", list(service.models))
    asyncio.run(server.serve([found]))
    LOG.info("stopped")
    return 0
