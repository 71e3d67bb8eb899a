"""The cluster of a `ray_pool`: the one that ``RAY_ADDRESS`` names, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import Any

from polite_flamingo.errors import ConfigError, ModelError, PoliteFlamingoError

ADDRESS_VARIABLE = "RAY_ADDRESS"
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens on 127.0.0.1 alone; read at its import


def prepare_environment() -> None:
    """Before Ray is imported, which is when it reads this: a private cluster listens on loopback and asks for a token.

    The token lives in the environment of this process and its children alone. A cluster that ``RAY_ADDRESS`` names has
    its own settings.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get(ADDRESS_VARIABLE) or "ray" in sys.modules:
        return
    os.environ.setdefault(LOOPBACK_VARIABLE, "0")
    if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def connect(ray: Any) -> None:
    """Join the cluster ``RAY_ADDRESS`` names, or start a private one on this machine."""
    address = os.environ.get(ADDRESS_VARIABLE)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if not address:
        options |= {"address": "local", "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise ConfigError(
            "Ray cannot be reached",
            value=" ".join(str(error).split())[:300],
            where=f"{ADDRESS_VARIABLE}={address}" if address else "this machine",
            next_step="check the address and the token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)",
        ) from error


def worker_error(error: Any, message: str) -> PoliteFlamingoError:
    """Our own error where a worker raised one, or its text."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, PoliteFlamingoError):
        return cause
    return ModelError(message, value=f"{type(cause or error).__name__}: {cause or error}"[:500])
