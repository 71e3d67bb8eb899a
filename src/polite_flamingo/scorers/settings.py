"""Settings of the scorers (section 4.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polite_flamingo.scorers.judge import JudgeSettings
from polite_flamingo.settings import Settings


class ScoreSettings(Settings):
    """Settings of the stage `score`."""

    clip_mode: Literal["paper", "fixed"] = Field(
        "paper", description="paper: mean over text.split('.')[:10], empty tail included; fixed: real sentences"
    )
    judge: JudgeSettings = Field(
        JudgeSettings(), description="a vision-language judge of the rewrites (docs/scoring.md)"
    )
