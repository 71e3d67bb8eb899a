"""What is wrong with parameters, each problem on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from polite_flamingo.errors import SHOWN_IN_ALL, did_you_mean, quoted
from polite_flamingo.params.schema import Params


def explain_problem(error: Any) -> str:
    """One problem that pydantic found with the parameters, on one line."""
    location = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        model: Any = Params
        for part in error["loc"][:-1]:
            annotation = model.model_fields[part].annotation if isinstance(part, str) else None
            if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
                return f"{location}: unknown parameter"
            model = annotation
        return f"{location}: unknown parameter ({did_you_mean(str(error['loc'][-1]), model.model_fields)})"
    if error["type"] == "missing":
        return f"{location}: is missing"
    if error["type"] == "model_type":
        return f"{location}: has keys of its own; write {location}.<key> (got {quoted(error.get('input'))})"
    return f"{location}: {error['msg'][:SHOWN_IN_ALL]} (got {quoted(error.get('input'))})"


def without_effect(default: Mapping[str, Any], overridden: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Values set in params.yaml that the profile replaces by others."""
    problems = []
    for dotted, (written, own) in overridden.items():
        usual: Any = default
        for key in dotted.split("."):
            usual = usual[key]
        if written not in (usual, own):
            problems.append(
                f"{dotted}: {quoted(written)} in params.yaml has no effect: the profile sets overrides.{dotted} "
                f"to {quoted(own)}; change it there, or take it out there"
            )
    return problems
