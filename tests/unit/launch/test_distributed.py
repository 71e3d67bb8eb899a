"""What starts a training in several processes."""

from __future__ import annotations

from polite_flamingo.launch import distributed
from polite_flamingo.params.reading import load_params


def test_a_distributed_stage_starts_its_processes_with_the_profile_and_the_device(monkeypatch) -> None:
    started = []
    monkeypatch.setattr(distributed, "call", lambda command, env: started.append((command, env)) or 3)
    runtime = load_params(profile="tiny").runtime.model_copy(update={"processes": 2, "device": "cpu"})
    params = load_params(profile="tiny").model_copy(update={"runtime": runtime})
    assert distributed.run_distributed("tune_stage1", params) == 3
    command, environment = started[0]
    words = " ".join(command)
    assert "torch.distributed.run --standalone --nproc-per-node 2 -m polite_flamingo tune_stage1" in words
    assert "--profile tiny" in words
    assert words.endswith("--device cpu")
    assert environment["DS_ACCELERATOR"] == "cpu"
