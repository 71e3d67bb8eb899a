"""Annotation formats: one file per format, each a reader from official files to samples.

A new format is one module with one class (see `polite_flamingo.sources.base.Source`) and one line in `READERS`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from polite_flamingo.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from polite_flamingo.sources.base import Source

READERS: dict[str, str] = {
    "alpaca": "polite_flamingo.sources.alpaca:Alpaca",
    "aokvqa": "polite_flamingo.sources.aokvqa:Aokvqa",
    "clevr": "polite_flamingo.sources.clevr:Clevr",
    "coco": "polite_flamingo.sources.coco:Coco",
    "flickr8k": "polite_flamingo.sources.flickr8k:Flickr8k",
    "gpteacher": "polite_flamingo.sources.gpteacher:Gpteacher",
    "llava_eval": "polite_flamingo.sources.llava_eval:LlavaEval",
    "llava_instruct": "polite_flamingo.sources.llava_instruct:LlavaInstruct",
    "oasst": "polite_flamingo.sources.oasst:Oasst",
    "spot_the_diff": "polite_flamingo.sources.spot_the_diff:SpotTheDiff",
    "ultrachat": "polite_flamingo.sources.ultrachat:Ultrachat",
    "vqav2": "polite_flamingo.sources.vqav2:Vqav2",
    "vsr": "polite_flamingo.sources.vsr:Vsr",
}


def load_source(name: str) -> Source:
    """Return the reader registered as `name`.

    Raises:
        ConfigError: no such reader; the message suggests one.
    """
    if name not in READERS:
        raise ConfigError("unknown source", value=name, where="sources", next_step=did_you_mean(name, READERS))
    module, _, attribute = READERS[name].partition(":")
    source: Source = getattr(importlib.import_module(module), attribute)()
    return source
