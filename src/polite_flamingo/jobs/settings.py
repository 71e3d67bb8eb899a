"""The machine a profile describes; none of it is a parameter of a stage, so changing it re-runs nothing.

Jobs take what they use of it: `MachineSettings` any of them, `TextMachineSettings` those that generate text.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polite_flamingo.devices import DeviceSettings
from polite_flamingo.settings import Settings


class EndpointSettings(Settings):
    """How an OpenAI-compatible endpoint is treated."""

    concurrency: int = Field(8, gt=0, description="requests at the same time, at most")
    timeout: float = Field(120, gt=0, description="seconds for one whole answer, however slowly it drips in")
    attempts: int = Field(6, gt=0, description="tries per request, at most")
    pause: float = Field(1, gt=0, description="seconds before the second try, at most; the bound doubles each time")
    longest_pause: float = Field(60, gt=0, description="bound of the growing pauses, seconds")
    longest_wait: float = Field(
        900, ge=0, description="longest `Retry-After` that is waited for, seconds; above it the run ends"
    )
    give_up_after: int = Field(
        24, gt=0, description="requests failing in a row, all tries used, after which the endpoint counts as gone"
    )
    image_edge: int = Field(1024, gt=0, description="longest edge of an image sent, pixels")
    image_bytes: int = Field(1024 * 1024, gt=0, description="largest JPEG sent, bytes")
    price_in: float = Field(0, ge=0, description="price of a million prompt tokens, in whatever currency")
    price_out: float = Field(0, ge=0, description="price of a million answered tokens")


class MachineSettings(DeviceSettings):
    """Where answers are computed: in this process, or by a pool of workers on a Ray cluster."""

    engine: Literal["local", "ray"] = Field("local", description="docs/how_to_rewrite_on_a_cluster.md")
    workers: int = Field(1, gt=0, description="ray: models on the cluster, each on `threads` cores")
    gpus_per_worker: float = Field(0, ge=0, description="ray")
    shared: str | None = Field(None, description="ray: fsspec URL for nodes that do not see these paths")


class TextMachineSettings(MachineSettings):
    """The same for backends that generate text."""

    generation_batch_size: int = Field(16, gt=0, description="rewriting: records at a time")
    token_budget: int | None = Field(
        None,
        gt=0,
        description="rewriting: most tokens at a time, prompts and continuations; null: the batch size decides",
    )
    compile: bool = Field(False, description="rewriting: decode with torch.compile, worth its minutes in runs of hours")
    endpoint: EndpointSettings = Field(EndpointSettings(), description="treatment of an `openai:` backend")
