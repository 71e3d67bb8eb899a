"""Where a model runs."""

from __future__ import annotations

from polite_flamingo.errors import ConfigError


def pick_device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` where there is one, else ``cpu``; check that a CUDA device that is named exists.

    Raises:
        ConfigError: there is no CUDA device.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            "no CUDA device here", value=name, where="runtime.device", next_step="set runtime.device to auto or cpu"
        )
    return name
