"""Settings of the gates between the stages (ours)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from polite_flamingo.settings import Settings, Share


class KeepRange(Settings):
    """Share of a source's records that the filters may keep."""

    default: tuple[float, float] = (0.2, 1.0)
    per_source: dict[str, tuple[float, float]] = Field({}, description="e.g. coco: [0.5, 0.98]")
    min_records: int = Field(20, ge=1, description="sources with fewer are not judged")

    @field_validator("default", "per_source")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        for low, high in value.values() if isinstance(value, dict) else [value]:
            if not 0 <= low <= high <= 1:
                raise ValueError("a range is [lowest, highest] share kept, between 0 and 1")
        return value


class Drift(Settings):
    """How far the data may move from the accepted run (``configs/baselines/P.json``)."""

    action: Literal["off", "warn", "fail"] = Field("warn", description="off, warn, or fail: stop the run")
    max_shift: float = Field(
        0.05, gt=0, le=1, description="share of a source's records that may lie elsewhere, beyond chance"
    )
    false_alarms: float = Field(
        0.01, gt=0, lt=1, description="chance that data drawn anew from the same sources alarm a gate"
    )
    min_records: int = Field(50, ge=1, description="sources with fewer are not compared")


class QualitySettings(Settings):
    """Bounds of the gates."""

    max_rejected_share: Share = Field(0.05, description="rows in quarantine above which a stage fails")
    min_kept_share: Share = Field(0.3, description="records surviving the filters below which the gate fails")
    keep_range: KeepRange = Field(
        KeepRange(),
        description="share of a source's records that the filters may keep: a source outside stops the run",
    )
    drift: Drift = Field(Drift(), description="share of tasks, lengths and scores beside those of the accepted run")
