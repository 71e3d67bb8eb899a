"""Trees of values: a file's over the defaults, a profile's or a command's over a file's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polite_flamingo.errors import did_you_mean
from polite_flamingo.settings import Settings

NOT_REPLACED = {  # dvc.yaml watches no such key of profiles: a profile's value would re-run nothing
    "profile", "seed", "second_generation", "tune.skip_stage1",
}  # fmt: skip


def section_of(schema: type[Settings], name: str) -> type[Settings] | None:
    """The type of a field that has fields of its own; None: a plain value, or a mapping whose keys are free."""
    field = schema.model_fields.get(name)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def with_defaults(schema: type[Settings], default: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a file, with defaults where it says nothing; unknown keys stay, to be named as problems."""
    filled = {**default, **written}
    for name, value in written.items():
        section = section_of(schema, name)
        if section is not None and isinstance(value, Mapping):
            filled[name] = with_defaults(section, default[name], value)
    return filled


def with_overrides(
    schema: type[Settings],
    base: Mapping[str, Any],
    overrides: Mapping[str, Any],
    problems: list[str],
    prefix: str = "overrides.",
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """`base` with the values of `overrides`, and what they replace: dotted key -> (value in `base`, new value)."""
    merged = dict(base)
    replaced: dict[str, tuple[Any, Any]] = {}
    for key, value in overrides.items():
        section = section_of(schema, key)
        if key not in schema.model_fields:
            problems.append(f"{prefix}{key}: no such parameter ({did_you_mean(str(key), schema.model_fields)})")
        elif section is not None and isinstance(value, Mapping) and isinstance(base[key], Mapping):
            merged[key], inner = with_overrides(section, base[key], value, problems, f"{prefix}{key}.")
            replaced |= {f"{key}.{name}": pair for name, pair in inner.items()}
        elif f"{prefix}{key}".removeprefix("overrides.") in NOT_REPLACED and prefix.startswith("overrides."):
            problems.append(f"{prefix}{key}: is set in params.yaml alone")
        else:
            merged[key] = value
            replaced[key] = (base[key], value)
    return merged, replaced
