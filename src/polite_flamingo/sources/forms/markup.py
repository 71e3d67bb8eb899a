"""HTML of chat pages to Markdown, with the standard library alone.

Kept: paragraphs, headings, emphasis, code (with its language), lists, quotes, links, tables, rules and TeX formulas.
Left out: what belongs to the page and not to the answer (buttons, "Copy code" bars, scripts, pictures' pixels).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from polite_flamingo.errors import DataError

MAX_DEPTH = 100  # open elements; a chat page has about ten
_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
_SILENT = frozenset({"button", "head", "noscript", "script", "style", "svg", "template", "textarea"})
_BLOCK = frozenset(
    {"address", "article", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "figure", "footer"}
    | {"form", "header", "html", "main", "nav", "p", "section", "summary"}
)
_MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*", "del": "~~", "s": "~~"}
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
        DataError: elements are nested more than `MAX_DEPTH` deep.
    """
    parser = _Tree()
    parser.feed(html)
    parser.close()
    text = _blocks(parser.root)
    return re.sub(r"\n{3,}", "\n\n", text).strip() if "```" not in text else text.strip()


@dataclass(slots=True)
class _Node:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Node | str] = field(default_factory=list)


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = _Node("body")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _CLOSED_BY.get(self._open[-1].tag, ()):
            self._open.pop()
        node = _Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)
            if len(self._open) > MAX_DEPTH:
                raise DataError("HTML is nested too deeply", value=len(self._open))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self._open[-1].tag == tag and tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        for index in range(len(self._open) - 1, 0, -1):
            if self._open[index].tag == tag:
                del self._open[index:]
                return

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def _blocks(node: _Node) -> str:
    """The children as blocks, a blank line between them; runs of inline children make one paragraph."""
    parts: list[str] = []
    line: list[str] = []

    def flush() -> None:
        text = re.sub(r" *\n *", "\n", re.sub(r"[ \t]+", " ", "".join(line))).strip()
        line.clear()
        if text:
            parts.append(text)

    for child in node.children:
        block = None if isinstance(child, str) else _block(child)
        if block is None:
            line.append(_inline(child))
            continue
        flush()
        if block.strip():
            parts.append(block)
    flush()
    return "\n\n".join(parts)


def _block(node: _Node) -> str | None:
    """A block element as Markdown, None for an inline one."""
    tag = node.tag
    if tag in _SILENT:
        return ""
    if re.fullmatch(r"h[1-6]", tag):
        text = _run(node)
        return f"{'#' * int(tag[1])} {text}" if text else ""
    if tag == "pre":
        return _code_block(node)
    if tag in ("ul", "ol"):
        return _list(node)
    if tag == "table":
        return _table(node)
    if tag == "hr":
        return "---"
    if tag == "blockquote":
        return "\n".join(f"> {line}".rstrip() for line in _blocks(node).split("\n"))
    return _blocks(node) if tag in _BLOCK else None


def _inline(node: _Node | str) -> str:
    if isinstance(node, str):
        return re.sub(r"\s+", " ", node)
    tag = node.tag
    if tag in _SILENT:
        return ""
    if tag == "br":
        return "\n"
    if tag == "code":
        text = _text(node)
        fence = "``" if "`" in text else "`"
        return f"{fence}{text}{fence}" if text else ""
    if tag == "img":
        return node.attributes.get("alt", "")
    formula = _formula(node)
    if formula is not None:
        return formula
    block = _block(node)
    if block is not None:  # a block inside a paragraph
        return f"\n{block}\n"
    text = "".join(map(_inline, node.children))
    if tag in _MARKS and text.strip():
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{before}{_MARKS[tag]}{text.strip()}{_MARKS[tag]}{after}"
    target = node.attributes.get("href", "") if tag == "a" else ""
    return f"[{text.strip()}]({target})" if target and text.strip() else text


def _run(node: _Node) -> str:
    return " ".join("".join(map(_inline, node.children)).split())


def _formula(node: _Node) -> str | None:
    """TeX of a KaTeX element, which holds each formula twice: as TeX and as the glyphs to show."""
    classes = node.attributes.get("class", "").split()
    if node.tag != "span" or not {"katex", "katex-display"} & set(classes):
        return None
    tex = next((_text(found) for found in _walk(node) if found.tag == "annotation"), None)
    if tex is None:
        return None
    return f"\n$${tex}$$\n" if "katex-display" in classes else f"${tex}$"


def _code_block(node: _Node) -> str:
    code = next((found for found in _walk(node) if found.tag == "code"), node)
    match = _LANGUAGE.search(code.attributes.get("class", ""))
    text = _text(code).strip("\n")
    fence = "````" if "```" in text else "```"
    return f"{fence}{match.group(1) if match else ''}\n{text}\n{fence}"


def _list(node: _Node) -> str:
    start = node.attributes.get("start", "")
    number = int(start) if re.fullmatch(r"\d{1,9}", start) else 1
    lines = []
    for child in node.children:
        if isinstance(child, str) or child.tag in _SILENT:
            if isinstance(child, str) and child.strip():
                lines.append(child.strip())
            continue
        mark = f"{number}. " if node.tag == "ol" else "- "
        number += 1
        text = _blocks(child) if child.tag == "li" else _blocks(_Node("li", children=[child]))
        tight = re.sub(r"\n\n(?= *(?:- |\d+\. ))", "\n", text)
        lines.append(mark + tight.replace("\n", "\n" + " " * len(mark)))
    return "\n".join(re.sub(r"(?m)^ +$", "", line) for line in lines)


def _table(node: _Node) -> str:
    rows = [
        [
            _run(cell).replace("|", r"\|")
            for cell in row.children
            if isinstance(cell, _Node) and cell.tag in ("td", "th")
        ]
        for row in _walk(node)
        if row.tag == "tr"
    ]
    rows = [row for row in rows if row]
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _walk(node: _Node) -> list[_Node]:
    """The node and all below it in document order."""
    found = [node]
    for child in node.children:
        if isinstance(child, _Node):
            found += _walk(child)
    return found


def _text(node: _Node) -> str:
    """Text as it stands, line breaks and blanks kept."""
    parts = []
    for child in node.children:
        if isinstance(child, str):
            parts.append(child)
        elif child.tag == "br":
            parts.append("\n")
        elif child.tag not in _SILENT:
            parts.append(_text(child))
    return "".join(parts)
