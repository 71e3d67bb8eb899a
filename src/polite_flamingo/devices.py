"""Where a model runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polite_flamingo.errors import ConfigError
from polite_flamingo.settings import Settings


class DeviceSettings(Settings):
    """What every model of a profile runs on."""

    device: str = Field("auto", description="auto | cpu | cuda")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the computation; what learns stays so")
    threads: int = Field(2, gt=0, description="of the processor, per model")


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
