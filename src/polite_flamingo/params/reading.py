"""Reading params.yaml and a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polite_flamingo.errors import YAML_HINT, ConfigError, did_you_mean
from polite_flamingo.params.merging import with_defaults, with_overrides
from polite_flamingo.params.problems import explain_problem, without_effect
from polite_flamingo.params.schema import Paper, Params, defaults


def load_params(path: Path = Path("params.yaml"), profile: str | None = None) -> Params:
    """Read params.yaml and its profile.

    Args:
        path: The params file; profiles lie beside it in ``configs/profiles``. What it leaves out has its default.
        profile: Use this profile instead of the one named in the file.

    Raises:
        ConfigError: names every unknown key and bad value, and every value without effect, at once.
    """
    written = read_yaml(path)
    default = defaults()
    name = profile or written.get("profile", default["profile"])
    folder = path.parent / "configs" / "profiles"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError("unknown profile", value=name, where=folder, next_step=did_you_mean(str(name), known))
    machine = read_yaml(folder / f"{name}.yaml")
    overrides = machine.pop("overrides", None) or {}
    if not isinstance(overrides, Mapping):
        raise ConfigError("`overrides` is no mapping", value=overrides, where=folder / f"{name}.yaml")
    shared = sorted(set(Paper.model_fields) & set(machine))
    if shared:
        raise ConfigError(
            "a profile repeats a key of params.yaml",
            value=shared,
            where=folder / f"{name}.yaml",
            next_step="put it under `overrides`",
        )
    problems = [
        f"{key}: is a key of profiles and has no effect in params.yaml; set it in {folder / (name + '.yaml')}"
        for key in written
        if key in Params.model_fields and key not in Paper.model_fields
    ]
    base = with_defaults(Paper, default, written)
    merged, overridden = with_overrides(Paper, base, overrides, problems)
    problems += without_effect(default, overridden)
    try:
        params = Params.model_validate({**merged, **machine, "profile": name, "overridden": overridden})
    except ValidationError as error:
        problems += [explain_problem(e) for e in error.errors()]
        params = None
    if problems or params is None:
        raise ConfigError(
            f"{len(problems)} problem(s) in the parameters:\n    " + "\n    ".join(problems),
            where=f"{path} + {folder / (name + '.yaml')}",
            next_step="fix all of them; `polite-flamingo params` shows the resolved values",
        )
    return params


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file, read by the parser that DVC reads it by: YAML 1.2, and no key twice.

    Raises:
        ConfigError: there is no such file, it is no YAML, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "run from the top of a project, or make one here: `polite-flamingo init DATA`"
        raise ConfigError("file does not exist", where=path, next_step=hint) from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error)
        raise ConfigError("file is not valid YAML", value=problem, where=f"{path}{line}", next_step=YAML_HINT) from None
    if not isinstance(value, dict):
        hint = "write `key: value` lines; `polite-flamingo params` shows them"
        raise ConfigError("file holds no mapping", value=type(value).__name__, where=path, next_step=hint)
    return value
