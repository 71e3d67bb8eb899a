"""The shape of the source: no circle of imports, short stages and functions, one name for one thing.

Read from the syntax alone, in about a second, so that `make checks` can run it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
STAGE_LINES = 120
FUNCTION_LINES = 60

Modules = Mapping[str, ast.Module]


def parse(source: Path) -> Modules:
    """Module name -> syntax tree, of all packages below `source`."""
    trees = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return trees


def imports(modules: Modules, packages: frozenset[str]) -> dict[str, set[str]]:
    """Module -> modules it names in an import: at the top, in functions, under TYPE_CHECKING."""
    graph: dict[str, set[str]] = {}
    for name, tree in modules.items():
        package = name if name in packages else name.rpartition(".")[0]
        names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    names.add(inner if inner in modules else base)
        graph[name] = {other for other in names if other in modules and other != name}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, however many steps lie between."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph if a in reach[a]}
    return [list(group) for group in sorted(groups)]


def packages_of(source: Path) -> frozenset[str]:
    return frozenset(".".join(file.parent.relative_to(source).parts) for file in source.rglob("__init__.py"))


@pytest.fixture(scope="module")
def modules() -> Modules:
    return parse(SOURCE)


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and lines of every function; a class inside one (of a library loaded late) counts by its own methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, _lines(node) - sum(_lines(inner) for inner in node.body if isinstance(inner, ast.ClassDef))


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_modules_import_each_other(modules: Modules) -> None:
    assert circles(imports(modules, packages_of(SOURCE))) == []


def test_a_circle_is_seen_wherever_its_imports_stand(tmp_path: Path) -> None:
    for file, text in {
        "p/__init__.py": "",
        "p/a.py": "from p import b\n",
        "p/b.py": "def f():\n    from p.c import x\n",
        "p/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a\nx = 1\n",
        "p/d.py": "import p.a\nfrom . import e\n",
        "p/e.py": "from .sub import y\n",
        "p/sub/__init__.py": "from ..d import z\ny = 1\n",
        "p/sub/free.py": "from p import a\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert circles(imports(parse(tmp_path), packages_of(tmp_path))) == [["p.a", "p.b", "p.c"], ["p.d", "p.e", "p.sub"]]


def test_stages_read_call_and_write_in_few_lines() -> None:
    files = sorted((SOURCE / "polite_flamingo" / "stages").glob("*.py"))
    assert len(files) > 5
    lines = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > STAGE_LINES} == {}


def test_a_function_fits_on_a_screen(modules: Modules) -> None:
    lengths = {
        f"{module}.{function}": length
        for module, tree in modules.items()
        for function, length in _functions(tree)
        if length > FUNCTION_LINES
    }
    assert lengths == {}


def test_a_modules_logger_is_its_constant_LOG(modules: Modules) -> None:
    loggers = {
        f"{module}: {ast.unparse(node.targets[0])}"
        for module, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "logging.getLogger(__name__)"
    }
    assert loggers
    assert [logger for logger in sorted(loggers) if not logger.endswith(": LOG")] == []


def test_a_class_name_means_one_thing(modules: Modules) -> None:
    homes = defaultdict(list)
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
