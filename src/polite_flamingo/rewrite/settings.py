"""How a model that was not trained to rewrite is asked for it."""

from __future__ import annotations

from pydantic import Field

from polite_flamingo.prompts.rewriting import DEFAULT
from polite_flamingo.settings import Settings


class RewritingSettings(Settings):
    """The request to a rewriter that comes ready; the trained one is asked with the prompt of Figure 3."""

    style: str = Field(
        DEFAULT,
        min_length=1,
        description="polite | concise | stepwise | a text file with a template (docs/backends.md)",
    )
