"""HTML of chat pages to Markdown: markdownify, told what belongs to the page and not to the answer.

Kept: paragraphs, headings, emphasis, code (with its language), lists, quotes, links, tables, rules and TeX formulas.
Left out: buttons, "Copy code" bars, scripts, pictures' pixels. The input is anybody's: depth and number of elements are
bounded while it is parsed, and what takes markdownify quadratic time is done here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

MAX_DEPTH = 100  # open elements; a chat page has about ten
MAX_ELEMENTS = 50_000  # of a text
MAX_CELLS = 100_000  # of a table whose rows are all as wide as its widest
MAX_UNCLOSED = 100  # tags and comments without an end: the parser reads on to the end of the text for each
_SILENT = ("button", "head", "noscript", "script", "style", "svg", "template", "textarea")
_BLOCK = frozenset(
    {"address", "article", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "figure", "footer"}
    | {"form", "header", "html", "main", "nav", "p", "section", "summary"}
)
_CLOSED_BY = {"p": _BLOCK | {"ul", "ol", "pre", "table", "hr"}, "li": {"li"}, "tr": {"tr"}, "td": {"td", "th", "tr"}}
_CLOSED_BY["th"] = _CLOSED_BY["td"]
_WHOLE = re.compile(
    r"\s*<(div|p|ol|ul|pre|h[1-6]|table|blockquote)\b[^>]*>.*</(?:div|p|ol|ul|pre|h[1-6]|table|blockquote)>\s*", re.S
)
_LANGUAGE = re.compile(r"language-([\w+#.-]+)")


def is_html(text: str) -> bool:
    """True for a text that is HTML from its first to its last character, as raw ShareGPT answers are."""
    return _WHOLE.fullmatch(text) is not None


def to_markdown(html: str) -> str:
    """Turn HTML into Markdown; unclosed and stray tags are taken as a browser would.

    Raises:
        DataError: elements are nested more than `MAX_DEPTH` deep, are more than `MAX_ELEMENTS`, or lack their ends; a
            table has more than `MAX_CELLS`.
    """
    soup = _parse(html)
    for element in soup.find_all(_SILENT):
        element.extract()
    for span in soup.find_all("span", class_=("katex", "katex-display")):
        _write_formula(soup, span)
    text: str = _converter().convert_soup(soup)
    return re.sub(r"\n{3,}", "\n\n", text).strip() if "```" not in text else text.strip()


def _parse(html: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    class Bounded(BeautifulSoup):
        """Ends a paragraph, item or cell where a browser does, and stops where elements are too deep or too many."""

        count = 0

        def handle_starttag(self, name: str, *args: Any, **options: Any) -> Any:
            if name in _CLOSED_BY.get(self.currentTag.name if self.currentTag else "", ()):
                self.endData()
                self.popTag()
            self.count += 1
            if len(self.tagStack) > MAX_DEPTH:
                raise DataError("HTML is nested too deeply", value=len(self.tagStack))
            if self.count > MAX_ELEMENTS:
                raise DataError("HTML has too many elements", value=self.count)
            return super().handle_starttag(name, *args, **options)

    tail = html.rpartition(">")[2]
    if max(tail.count("<"), html.count("<!--") - html.count("-->")) > MAX_UNCLOSED:
        raise DataError("HTML has too many tags or comments without an end", value=tail[:MAX_UNCLOSED])
    try:
        return Bounded(html, "html.parser")
    except ParserRejectedMarkup as error:
        raise DataError("HTML cannot be parsed", value=str(error)) from None


def _write_formula(soup: BeautifulSoup, span: Tag) -> None:
    """TeX in place of a KaTeX element, which holds each formula twice: as TeX and as the glyphs to show."""
    tex = span.find("annotation")
    if tex is None:
        return
    if "katex-display" in (span.get("class") or ()):
        span.string = f"$${tex.get_text()}$$"
        span.insert_before(soup.new_tag("br"))
        span.insert_after(soup.new_tag("br"))
    else:
        span.string = f"${tex.get_text()}$"


def _converter() -> Any:
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        def __init__(self) -> None:
            super().__init__(
                autolinks=False,
                bullets="-",
                escape_asterisks=False,
                escape_underscores=False,
                heading_style=ATX,
                strip=["kbd", "q", "samp"],
                wrap=True,  # without a width: line breaks of the source are blanks
                wrap_width=None,
            )
            self._items: Counter[int] = Counter()  # items so far of each ordered list
            self._tables: dict[int, tuple[list[Tag], int]] = {}  # first row and number of columns of each table

        def process_text(self, el: Any, parent_tags: Any = None) -> str:
            text: str = super().process_text(el, parent_tags)  # type: ignore[misc]  # the stubs lack it
            if "pre" in parent_tags:
                return text
            if _is_break(el.next_sibling):  # no blanks at the end of a line and the start of the next
                text = text.rstrip()
            if _is_break(el.previous_sibling):
                text = text.lstrip()
            return text.replace("\xa0", " ")

        def convert_br(self, el: Tag, text: str, parent_tags: Any) -> str:
            return " " if "_inline" in parent_tags else "\n"

        def convert_img(self, el: Tag, text: str, parent_tags: Any) -> str:
            return str(el.get("alt") or "")

        def convert_pre(self, el: Tag, text: str, parent_tags: Any) -> str:
            return f"\n\n{_code_block(el)}\n\n"

        def convert_li(self, el: Tag, text: str, parent_tags: Any) -> str:
            mark = "- "
            if el.parent is not None and el.parent.name == "ol":
                start = str(el.parent.get("start") or "")
                number = int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 1
                mark = f"{number + self._items[id(el.parent)]}. "
                self._items[id(el.parent)] += 1
            tight = re.sub(r"\n\n(?= *(?:- |\d+\. ))", "\n", text.strip())
            return mark + re.sub(r"\n(?=[^\n])", "\n" + " " * len(mark), tight) + "\n"

        def convert_td(self, el: Tag, text: str, parent_tags: Any) -> str:
            content = " ".join(text.split()).replace("|", r"\|")
            return f" {content} |"

        convert_th = convert_td

        def convert_tr(self, el: Tag, text: str, parent_tags: Any) -> str:
            table = el.find_parent("table") or el
            if id(table) not in self._tables:
                rows = table.find_all("tr")
                columns = max(map(_cells, rows), default=0)
                if len(rows) * columns > MAX_CELLS:
                    raise DataError("HTML table has too many cells", value=len(rows) * columns)
                self._tables[id(table)] = (rows[:1], columns)
            first, width = self._tables[id(table)]
            rule = f"|{' --- |' * width}\n" if first and first[0] is el else ""
            return f"|{text}{'  |' * (width - _cells(el))}\n" + rule

        convert_dd = convert_dt = MarkdownConverter.convert_div  # type: ignore[attr-defined]  # the stubs lack it

    return Converter()


def _is_break(sibling: Any) -> bool:
    return getattr(sibling, "name", None) == "br"


def _code_block(element: Tag) -> str:
    code = element.find("code") or element
    language = _LANGUAGE.search(" ".join(code.get("class") or ()))
    fence = "````" if "```" in code.get_text() else "```"
    content = code.get_text().strip("\n")
    return f"{fence}{language[1] if language else ''}\n{content}\n{fence}"


def _cells(row: Tag) -> int:
    return len(row.find_all(["td", "th"], recursive=False))
