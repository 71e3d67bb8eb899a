"""The three strategies of distortion (section 3.1), from their settings."""

from __future__ import annotations

from polite_flamingo.distort.base import Distortion
from polite_flamingo.distort.llm_rewrite import Completer, LlmRewrite
from polite_flamingo.distort.retrieve_boxes import RetrieveBoxes
from polite_flamingo.distort.settings import DistortSettings
from polite_flamingo.distort.text_noise import TextNoise


def strategies(settings: DistortSettings, completer: Completer) -> tuple[Distortion, ...]:
    """All strategies; `completer` makes the drafts of the LLM-instructed one."""
    return (
        LlmRewrite(completer, settings.llm_rewrite.command_probability),
        TextNoise(settings.text_noise.level_probability),
        RetrieveBoxes(settings.boxes.decimals),
    )
