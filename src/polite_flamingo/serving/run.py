"""From names of models to a server that listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from polite_flamingo.batching.alone import chat_engine
from polite_flamingo.serving.app import build_app
from polite_flamingo.serving.engine_process import EngineProcess, ServedEngine
from polite_flamingo.serving.keys import api_keys
from polite_flamingo.serving.server import DrainingServer, allow_connections, config_of, listen
from polite_flamingo.serving.service import Service, served_models
from polite_flamingo.serving.settings import ServingSettings
from polite_flamingo.talk.models import ModelPlace, find_model, load_model

LOG = logging.getLogger(__name__)
ALONE = 16  # requests that wait for a model which takes one at a time: each keeps its images


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
    with closing(found), ExitStack() as engines:
        service = Service(served_models(_loaded(places, settings, device, dtype, engines), settings), settings.limits)
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


def _loaded(
    places: Sequence[ModelPlace], settings: ServingSettings, device: str, dtype: str | None, engines: ExitStack
) -> list[tuple[ModelPlace, Any, ServedEngine]]:
    """Models with what writes their prompts and their engines, which `engines` closes.

    A Flamingo's engine is in a process of its own, all loading at once. A chat model's is here: its steps are long, and
    leave Python's lock to the event loop.
    """
    sizes = {"slots": settings.slots, "queue": settings.queue}
    processes = {}
    for place in places:
        if place.form != "chat":
            processes[place.name] = EngineProcess(place, device=device, dtype=dtype, **sizes)
            engines.callback(processes[place.name].close, finish=False)
    loaded: list[tuple[ModelPlace, Any, ServedEngine]] = []
    for place in places:
        if (process := processes.get(place.name)) is not None:
            process.wait()
            loaded.append((place, process.reader, process))
        else:
            model: Any = load_model(place, device=device, dtype=dtype)
            engine = chat_engine(model, **sizes, alone=min(settings.queue, ALONE))
            engines.callback(engine.close, finish=False)
            loaded.append((place, model, engine))
    return loaded
