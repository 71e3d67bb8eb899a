"""Which files of the package a stage's code imports, read from the source without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT / "src"
PACKAGE = "polite_flamingo"

# Where the closure ends. What a stage takes from these modules does not change what it writes:
STOPS = (
    f"{PACKAGE}.params",  # composes every component's settings; the values a stage uses are DVC parameters
    f"{PACKAGE}.tracking",  # records runs beside the outputs
)


def code_of_stage(module: str) -> set[str]:
    """Files below the project's top that ``polite_flamingo.stages.<module>`` imports, wherever the import stands.

    A file of the package that the code names by its path, as ``assets/object_names.yaml``, counts as well. Imports for
    type checkers alone do not, and neither do packages whose ``__init__`` only has a docstring. What the registry of
    sources finds by name lies in a folder that is a dependency as a whole.
    """
    seen: set[Path] = set()
    named: set[Path] = set()
    waiting = [f"{PACKAGE}.stages.{module}"]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if file is None or file in seen or any(name == stop or name.startswith(f"{stop}.") for stop in STOPS):
            continue
        seen.add(file)
        waiting += _imports(file)
        named.update(_named_files(file))
    code = {file for file in seen if not _is_only_docstring(file)}
    return {file.relative_to(PROJECT).as_posix() for file in code | named}


def uncovered(files: Iterable[str], deps: Iterable[str]) -> set[str]:
    """Files that are no dependency and lie in none."""
    folders = tuple(f"{dep}/" for dep in deps if not Path(dep).suffix)
    return {file for file in files if file not in deps and not file.startswith(folders)}


@cache
def _imports(file: Path) -> tuple[str, ...]:
    names: list[str] = []
    for node in _statements(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{file}: a relative import"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] == PACKAGE]
    parents = [name.rsplit(".", depth)[0] for name in ours for depth in range(1, name.count("."))]
    return tuple(dict.fromkeys([*ours, *parents]))


@cache
def _named_files(file: Path) -> tuple[Path, ...]:
    """Files below the package that `file` names in a string."""
    texts = (
        node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
    )
    paths = (
        SOURCE / PACKAGE / text for text in texts if isinstance(text, str) and re.fullmatch(r"\w+(/\w+)+\.\w+", text)
    )
    return tuple(path for path in paths if path.is_file())


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (inner for other in child.orelse for inner in (other, *_statements(other)))
        else:
            yield child
            yield from _statements(child)


def _file_of(name: str) -> Path | None:
    """File of a module or package; None for a name inside one, and for the two packages all stages start through.

    Their ``__init__`` has the version, and what starts a stage and records it.
    """
    if name in (PACKAGE, f"{PACKAGE}.stages"):
        return None
    path = SOURCE.joinpath(*name.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _is_only_docstring(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
