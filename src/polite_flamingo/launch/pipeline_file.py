"""dvc.yaml: reading it, and writing the one of a profile.

The project's own dvc.yaml, which comes with the package, has every stage. A profile has those that `Params.stages`
names: where it runs in a folder of its own, the dvc.yaml there has these alone, so that the graph DVC shows is the one
that runs. Of each stage it leaves out what nobody writes there, keys that the profile does not have, and, outside a
clone, the files of the package: their hashes, stage by stage, stand in ``configs/code.yaml`` and are parameters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.hashes import fingerprint, hash_file
from polite_flamingo.model.settings import BackboneSettings
from polite_flamingo.params.reading import read_yaml
from polite_flamingo.params.schema import Params
from polite_flamingo.pipeline import BY_NAME, SECOND_GENERATION
from polite_flamingo.prompts.rewriting import template_file

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times as fast, where libyaml is there
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
NAME = "dvc.yaml"
PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATE = Path(__file__).with_name("template")  # links to files of the project's own, which the package brings along
ALL = TEMPLATE / "stages.yaml"
SOURCE = "src/polite_flamingo/"  # where a clone has the package
CODE = Path("configs", "code.yaml")
MARK = "# Written by polite-flamingo"
HEAD = f"""\
{MARK}: the stages of the profile that params.yaml names. `polite-flamingo run` writes it anew
# where profile or package ask for another one; add what is yours to a dvc.yaml in a folder of its own.
"""
CODE_HEAD = f"{MARK}: hashes of the package's files that each stage runs; a stage whose code changed runs again.\n"


def read_pipeline(path: Path) -> dict[str, Any]:
    """A dvc.yaml with the values of a stage's own ``vars`` in their places.

    ``${profile}`` and ``${item.profile}`` stay as they are.
    """
    whole: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    return {**whole, "stages": {name: _filled(stage) for name, stage in whole["stages"].items()}}


def read_stages(path: Path) -> dict[str, dict[str, Any]]:
    """The stages of a dvc.yaml by name, as `read_pipeline` has them."""
    stages: dict[str, dict[str, Any]] = read_pipeline(path)["stages"]
    return stages


def is_written(root: Path) -> bool:
    """Whether the dvc.yaml of a project is one that this package writes, or is still to be written."""
    path = root / NAME
    return not path.is_file() or path.read_text(encoding="utf-8").startswith(MARK)


def serves(root: Path, params: Params) -> bool:
    """Whether DVC runs a profile right by the dvc.yaml that `root` has, or may be given."""
    if is_written(root):
        return True
    whole = read_pipeline(root / NAME)
    return _stages(whole["stages"], params, root) == whole["stages"]


def write_pipeline(params: Params, root: Path, folder: Path) -> None:
    """Give a project the dvc.yaml of a profile; a file that is right stays untouched.

    Args:
        params: The profile's parameters.
        root: Top folder of the project, whose own dvc.yaml is chosen from if it is none that this wrote.
        folder: Where DVC runs the profile: `root`, or a side project.
    """
    if folder == root and not is_written(root):
        return
    whole = read_pipeline(ALL if is_written(root) else root / NAME)
    stages = _stages(whole["stages"], params, root)
    plots = list(_plots(whole.get("plots", ()), stages))
    _write(folder / NAME, HEAD + _yaml({"stages": stages, "plots": plots}))
    if not _is_clone(root):
        _write(root / CODE, CODE_HEAD + _yaml(_code(whole["stages"])))


def predecessors(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Stage -> the stages whose outputs it reads."""
    written = {_path(out): name for name, stage in stages.items() for out in _outs(stage)}
    return {
        name: {
            writer
            for dep in map(_path, stage.get("deps", ()))
            for out, writer in written.items()
            if writer != name and overlap(dep, out)
        }
        for name, stage in stages.items()
    }


def overlap(one: str, other: str) -> bool:
    """Whether two paths are one, or one lies below the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _stages(stages: Mapping[str, Mapping[str, Any]], params: Params, root: Path) -> dict[str, dict[str, Any]]:
    """Those of the profile, each with what there is for it to depend on; stages of one's own stay as they are."""
    possible = {
        *params.stages,
        *(SECOND_GENERATION if params.trains_rewriter and params.tunes else ()),
    }  # or its list is empty
    own = {name: stage for name, stage in stages.items() if name in possible or name not in BY_NAME}
    unused = set(BackboneSettings.model_fields) - set(params.used_backbones)
    absent = [f"models/${{profile}}/backbones/{name}" for name in sorted(unused)]
    absent += [_path(out) for name, stage in stages.items() if name not in own for out in _outs(stage)]
    profile = Path("configs", "profiles", f"{params.profile}.yaml")
    style = template_file(params.rewriting.style)
    more = {
        "rewrite": [] if style is None or params.asks_flamingo else [style],
        "evaluate": [str(model.file) for model in params.evaluate.others if model.file is not None],
    }
    clone = _is_clone(root)  # its params.yaml is whole: a test says so
    values = {
        str(profile): read_yaml(root / profile),
        **({} if clone else {"params.yaml": read_yaml(root / "params.yaml")}),
    }

    def there(dep: str) -> bool:
        if dep.startswith(SOURCE):
            return clone
        if dep.startswith("configs/"):
            return clone or (root / dep).exists()
        return not any(_path(dep) == path or _path(dep).startswith(f"{path}/") for path in absent)

    def chosen(name: str, stage: Mapping[str, Any]) -> dict[str, Any]:
        read = list(_params(stage.get("params", ()), values, params.profile))
        code = [] if clone else [{str(CODE): [name]}]
        deps = [*filter(there, stage.get("deps", ())), *more.get(name, ())]
        own = {"deps": deps, "params": [*read, *code]}
        return {key: value for key, value in {**stage, **own}.items() if value or key not in own}

    return {name: chosen(name, stage) if name in BY_NAME else dict(stage) for name, stage in own.items()}


def _params(entries: Sequence[Any], values: Mapping[str, Mapping[str, Any]], profile: str) -> Iterator[Any]:
    """The parameters that a stage takes from its files, without those that a file does not have."""
    for entry in entries:
        for file, keys in ({"params.yaml": [entry]} if isinstance(entry, str) else entry).items():
            of_file = values.get(file.replace("${item.profile}", profile).replace("${profile}", profile))
            known = [key for key in keys if of_file is None or _has(of_file, key)]
            if known:
                yield entry if isinstance(entry, str) else {file: known}


def _has(values: Any, dotted: str) -> bool:
    for key in dotted.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def _plots(plots: Sequence[Any], stages: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Those of what some stage writes."""
    outs = [_path(out) for stage in stages.values() for out in _outs(stage)]

    def written(path: str) -> bool:
        return any(path == out or path.startswith(f"{out}/") for out in outs)

    for plot in plots:
        if isinstance(plot, str):
            if written(plot):
                yield plot
            continue
        for name, properties in plot.items():
            shown = {path: column for path, column in properties["y"].items() if written(path)}
            if shown:
                yield {name: {**properties, "y": shown}}


def _code(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Stage -> hash of the files of the installed package that it runs."""
    deps = {name: [dep for dep in stage["deps"] if dep.startswith(SOURCE)] for name, stage in stages.items()}
    files = {
        dep: {str(file.relative_to(PACKAGE)): hash_file(file) for file in _files(PACKAGE / dep.removeprefix(SOURCE))}
        for dep in {dep for own in deps.values() for dep in own}
    }
    return {name: fingerprint([files[dep] for dep in own]) for name, own in deps.items()}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _is_clone(root: Path) -> bool:
    return (root / SOURCE).is_dir()


def _outs(stage: Mapping[str, Any]) -> list[Any]:
    return [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, ())]


def _path(entry: str | Mapping[str, Any]) -> str:
    path = entry if isinstance(entry, str) else next(iter(entry))
    return path.replace("${item.profile}", "${profile}")


def _yaml(value: Any) -> str:
    return str(yaml.dump(json.loads(json.dumps(value)), Dumper=DUMPER, sort_keys=False, width=120, allow_unicode=True))


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)


def _filled(stage: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps({key: value for key, value in stage.items() if key != "vars"})
    for values in stage.get("vars", []):
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", str(value))
    filled: dict[str, Any] = json.loads(text)
    return filled
