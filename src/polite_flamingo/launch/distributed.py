"""A training stage in several processes of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from polite_flamingo.launch.processes import call, terminated_as_exit
from polite_flamingo.params.schema import Params


def run_distributed(
    stage: str, params: Params, *, params_file: Path = Path("params.yaml"), device: str | None = None
) -> int:
    """Run a training stage in ``runtime.processes`` processes of this machine; the first one writes.

    Several machines: start the same verb on each with ``torchrun`` or ``accelerate launch`` instead.

    Returns:
        Exit status, not 0 when one of the processes failed (the others are stopped).
    """
    chosen = device or params.runtime.device
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(params.runtime.processes), "-m", "polite_flamingo", stage]
    command += ["--profile", params.profile, "--params", str(params_file), "--device", chosen]
    environment = dict(os.environ)
    if chosen == "cpu":
        environment.setdefault("DS_ACCELERATOR", "cpu")
    with terminated_as_exit():
        return call(command, env=environment)
