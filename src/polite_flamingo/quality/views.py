"""How the Data Docs look: Great Expectations' own page with a style and a script inside, so that it needs no network.

Great Expectations imports this module by its name when it builds a site; nobody else does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, FileSystemLoader, pass_context
from markupsafe import escape

PAGES = Path(__file__).parent / "pages"


class OfflinePage(DefaultJinjaPageView):
    """A page, or the index, of templates that come before Great Expectations' own."""

    _template = "data_docs.j2"

    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        self.env.loader = ChoiceLoader([FileSystemLoader(PAGES), self.env.loader])

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *arguments: Any, **more: Any) -> Any:
        """Render a part of a page; text, which may come from the data, is escaped (Great Expectations leaves it)."""
        if isinstance(content_block, str):
            return str(escape(content_block))
        if isinstance(content_block, list):
            content_block = [str(escape(part)) if isinstance(part, str) else part for part in content_block]
        return super().render_content_block(jinja_context, content_block, *arguments, **more)
