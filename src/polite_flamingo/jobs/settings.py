"""The machine a profile describes; none of it is a parameter of a stage, so changing it re-runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from polite_flamingo.jobs.backends.endpoint import EndpointOptions
from polite_flamingo.settings import Settings

DEEPSPEED = Path("configs/deepspeed")


class RuntimeSettings(Settings):
    """Devices, processes, batch sizes and the tracker."""

    device: str = Field(description="auto | cpu | cuda")
    dtype: Literal["float32", "bfloat16"]
    threads: int = Field(gt=0, description="of the processor, per model")
    micro_batch_size: int = Field(gt=0, description="training: sequences per forward pass of a process")
    distributed: Literal["none", "ddp", "zero1", "zero2", "zero3"] = Field(
        "none", description="how the processes of a training share its work"
    )
    processes: int = Field(1, gt=0, description="training: one per GPU")
    gradient_checkpointing: bool = Field(False, description="training: less memory, more time")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field("sdpa", description="kernel of the attention")
    generation_batch_size: int = Field(gt=0, description="rewriting: records at a time")
    token_budget: int | None = Field(
        None,
        gt=0,
        description="rewriting: most tokens at a time, prompts and continuations; null: the batch size decides",
    )
    compile: bool = Field(False, description="rewriting: decode with torch.compile, worth its minutes in runs of hours")
    engine: Literal["local", "ray"] = Field("local", description="docs/how_to_rewrite_on_a_cluster.md")
    workers: int = Field(1, gt=0, description="ray: models on the cluster, each on `threads` cores")
    gpus_per_worker: float = Field(0, ge=0, description="ray")
    shared: str | None = Field(None, description="ray: fsspec URL for nodes that do not see these paths")
    endpoint: EndpointOptions = Field(EndpointOptions(), description="treatment of an `openai:` backend")
    tokens_per_second: float | None = Field(None, gt=0, description="training, per GPU: what `plan` reckons with")
    device_gb: float | None = Field(None, gt=0, description="memory of a GPU, GB: what `plan` warns about")
    tracking: Literal["mlflow", "none"]

    @property
    def deepspeed(self) -> Path | None:
        """DeepSpeed's configuration file, for the ZeRO stages."""
        return DEEPSPEED / f"{self.distributed}.json" if self.distributed.startswith("zero") else None
