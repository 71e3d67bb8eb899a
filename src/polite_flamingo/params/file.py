"""params.yaml as text: values in the order of the schema, beside each what its description says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.params.merging import section_of, with_defaults
from polite_flamingo.params.reading import read_yaml
from polite_flamingo.params.schema import Paper, defaults
from polite_flamingo.settings import Settings

WIDTH = 120
COLUMN = 46  # where a comment begins at the latest; a longer line has its comment above it
HEAD = """\
What the paper decides (Chen et al., arXiv 2307.01003). Each value cites its section, table, figure or the authors'
released code ("readme"); "ours" marks a choice where the paper is silent (reasons in docs/paper_index.md).
What a machine or a small data set decides lives in configs/profiles/${profile}.yaml, whose `overrides` tree may
replace values of this file; `polite-flamingo params` prints the result and what was replaced.
Written from the schema: `python -m polite_flamingo.params` brings comments and new keys up to date, not the values.
"""


def rendered(path: Path = Path("params.yaml")) -> str:
    """The text params.yaml should have: its own values, the defaults of what it leaves out, the schema's comments."""
    return render(Paper, with_defaults(Paper, defaults(), read_yaml(path)), HEAD)


def render(schema: type[Settings], values: Mapping[str, Any], head: str) -> str:
    """The file, which holds every value of `values`.

    Args:
        schema: Its fields say order and comments; sections with `inline` are written on one line.
        values: Nested plain values of all fields.
        head: Comment at the top of the file.
    """
    parts = [textwrap.indent(head.strip(), "# ")]
    plain: list[str] = []
    for name in schema.model_fields:
        lines = _aligned(list(_lines(schema, {name: values[name]}, only=name)))
        if isinstance(values[name], Mapping):
            parts += ["\n".join(plain)] * bool(plain) + ["\n".join(lines)]
            plain = []
        else:
            plain += lines
    return "\n\n".join([*parts, *(["\n".join(plain)] * bool(plain))]) + "\n"


def _lines(
    schema: type[Settings], values: Mapping[str, Any], indent: int = 0, only: str | None = None
) -> Iterator[tuple[str, str]]:
    """Pairs of a line and its comment."""
    for name in schema.model_fields if only is None else [only]:
        described = schema.model_fields[name].description or ""
        section = section_of(schema, name)
        start = f"{' ' * indent}{name}:"
        if section is None or section.inline:
            yield f"{start} {_flow(values[name])}", described
        else:
            yield start, described
            yield from _lines(section, values[name], indent + 2)


def _aligned(lines: list[tuple[str, str]]) -> list[str]:
    """Comments in one column; what does not fit goes on below the comment, or above a long line."""
    column = max((len(line) for line, comment in lines if comment and len(line) <= COLUMN - 2), default=0) + 2
    result = []
    for line, comment in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        if not comment:
            result.append(line)
        elif len(line) > COLUMN - 2:
            result += [f"{indent}# {part}" for part in textwrap.wrap(comment, WIDTH - len(indent) - 2)] + [line]
        else:
            first, *more = textwrap.wrap(comment, WIDTH - column - 2)
            result += [f"{line:<{column}}# {first}", *(f"{' ' * column}# {part}" for part in more)]
    return result


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:e}".split("e")
        digits = mantissa.rstrip("0")
        return f"{digits}{'0' if digits.endswith('.') else ''}e{int(exponent)}"
    import yaml

    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)).split("\n...")[0].strip()
    )
