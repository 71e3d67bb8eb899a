"""Polite Flamingo: turn terse vision-language annotations into polite, grounded instruction data, and tune on it.

The four steps of curation, and the records they pass on, are here for notebooks and scripts::

    import polite_flamingo as pf

    samples = pf.read_samples("llava_json", "data/mine")
    rewrites = pf.rewrite_samples(samples, "openai:http://localhost:8000/v1#qwen", images="data")
    kept = pf.filter_rewrites(pf.score_rewrites(rewrites))

and so are the two models, for one question or a table of them::

    pf.Rewriter.load("laptop").rewrite("What is it made of?", "rubber", images=["tyre.jpg"]).text
    pf.Assistant.load("models/tiny/stage3").ask("What is shown?", images=["scene.png"]).text

They are loaded at first use, so that the import itself costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_API = ("as_dataset", "as_records", "filter_rewrites", "read_samples", "rewrite_samples", "score_rewrites")
_HOMES = {
    **dict.fromkeys(_API, "api"),
    "Assistant": "talk.assistant",
    "Rewriter": "talk.rewriter",
    **dict.fromkeys(("Image", "Reject", "Rewrite", "Sample", "Task", "Turn"), "records"),
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
