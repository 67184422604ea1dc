"""The imports of the service go one way: from the composition down to the shared foundations."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.template import TREE

# From the top down. A module may import those of the rows below its own.
ROWS = [
    ["app.main", "app.serve", "app.worker", "app.check", "app.users"],
    ["app.factory"],
    ["app.config", "app.stack", "app.api"],
    ["app.middleware"],
    ["app.auth", "app.db", "app.realtime", "app.tasks"],
    ["app.limits"],
    ["app.core"],
]
# The imports that are allowed within a row.
NEIGHBOURS = {
    ("app.stack", "app.config"),
    ("app.api", "app.config"),
    ("app.auth", "app.db"),
    ("app.tasks", "app.db"),
}


def member(module: str) -> str:
    """Return the package or the module of a row that a module belongs to."""
    return ".".join(module.split(".")[:2])


def row(module: str) -> int:
    """Return the number of the row of a module."""
    [found] = [number for number, row in enumerate(ROWS) if member(module) in row]
    return found


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the service that a module imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("app."))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used here"
            if node.module == "app":
                yield from (f"app.{name.name}" for name in node.names)
            elif node.module and node.module.startswith("app."):
                yield node.module


MODULES = {
    ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((TREE / "app").rglob("*.py"))
    if path.parent != TREE / "app" or path.name != "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    for target in imported(MODULES[module]):
        arrow = (member(module), member(target))
        assert row(target) > row(module) or arrow in NEIGHBOURS or len(set(arrow)) == 1, (
            f"{module} imports {target}, which is not below it"
        )


def test_every_row_exists() -> None:
    # A misspelt name would check nothing.
    later = {"app.serve", "app.users"}
    assert {name for row in ROWS for name in row} - later <= set(map(member, MODULES))
