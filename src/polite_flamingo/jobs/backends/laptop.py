"""The shipped rewriter for photographs as a backend: it comes ready, and is asked as the trained one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.jobs.backends.flamingo import FlamingoBackend
from polite_flamingo.jobs.settings import TextMachineSettings
from polite_flamingo.model.origins import CONNECTOR, LAPTOP, REWRITER

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings


class LaptopBackend(FlamingoBackend):
    """The connector and the adapters of the package on models of other packages (`model.shipped`).

    Args:
        settings: Decoding.
        image_root: Folder of the image paths.
        machine: Device, type of the weights, batch size, token budget, compilation.
    """

    def __init__(self, settings: GenerationSettings, image_root: Path, machine: TextMachineSettings) -> None:
        super().__init__(LAPTOP / CONNECTOR, LAPTOP / REWRITER, settings, image_root, machine)

    def _load(self) -> Any:
        from polite_flamingo.model.shipped import load_shipped_rewriter

        return load_shipped_rewriter(device=self._machine.device, dtype=self._machine.dtype)
