"""The machine of the tests."""

from __future__ import annotations

from polite_flamingo.jobs.settings import TextMachineSettings


def machine(batch_size: int = 8) -> TextMachineSettings:
    return TextMachineSettings(device="cpu", dtype="float32", threads=1, generation_batch_size=batch_size)
