"""Parameters with some values replaced: by a variant, or on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from polite_flamingo.errors import ConfigError
from polite_flamingo.params.merging import with_overrides
from polite_flamingo.params.problems import explain_problem
from polite_flamingo.params.schema import Params


def changed(params: Params, changes: Mapping[str, Any]) -> Params:
    """The parameters with some values replaced; `params` stays as it is.

    Args:
        params: Resolved parameters.
        changes: Dotted name -> value.

    Raises:
        ConfigError: names every unknown key and bad value at once.
    """
    problems: list[str] = []
    values = params.model_dump()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        tree: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            tree = {parent: tree}
        values, _ = with_overrides(Params, values, tree, problems, "")
    result = params
    try:
        result = Params(**values)
    except ValidationError as error:
        problems += [explain_problem(e) for e in error.errors()]
    if problems:
        raise ConfigError(
            f"{len(problems)} problem(s) in the changes:\n    " + "\n    ".join(problems),
            next_step="`polite-flamingo params` shows every value",
        )
    return result


def parse_changes(assignments: Sequence[str], section: str | None = None) -> dict[str, Any]:
    """What `changed` takes, from ``key.key=value`` with the value as YAML.

    Args:
        assignments: As written on the command line.
        section: Where all keys must lie, e.g. ``filter``; None: anywhere.

    Raises:
        ConfigError: names every assignment that is none.
    """
    problems: list[str] = []
    changes: dict[str, Any] = {}
    form = "KEY=VALUE" if section is None else f"{section}.key=value"
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        keys = dotted.strip().split(".")
        if not equals or (section is not None and (keys[0] != section or len(keys) < 2)):
            problems.append(f"{assignment}: write {form}")
            continue
        try:
            changes[dotted.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"{assignment}: the value is not valid YAML")
    if problems:
        raise ConfigError(
            f"{len(problems)} problem(s) in the changes:\n    " + "\n    ".join(problems),
            where="--set",
            next_step="`polite-flamingo params` shows every value",
        )
    return changes
