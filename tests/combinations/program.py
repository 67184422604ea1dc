"""The references of a Python module to other modules, and the names that it defines."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from tests.support.template import template_files

FIRST_PARTY = ("app", "tests")
MODULE_NAMES = {"__name__"}
# Names of modules, or of objects in modules, in strings.
REFERENCE = re.compile(r"(?:app|tests)(?:\.\w+)+(?::\w+)?")
# The driver in a database URL, which SQLAlchemy imports.
DRIVER = re.compile(r"\b(?:sqlite|postgresql)\+(\w+)")


@dataclass
class Class:
    """A class: the names of its bases as the module resolves them, and its fields."""

    bases: list[str]
    fields: set[str]


class Program:
    """The facts about a module. All names are dotted and absolute."""

    def __init__(self, path: str, text: str) -> None:
        self.module = module_of(path)
        # The object that each imported name refers to.
        self.imported: dict[str, str] = {}
        tree = ast.parse(text, path)
        nodes = list(ast.walk(tree))
        modules = {name for node in nodes for name in self._read_import(node)}
        names = {name for node in top_level(tree.body) for name in bound(node)}
        self.classes = {
            node.name: self._read_class(node)
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }
        strings = [
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        references = {
            *modules,
            *self.imported.values(),
            *(name for node in nodes if (name := self._read_attribute(node))),
            *(string.replace(":", ".") for string in strings if REFERENCE.fullmatch(string)),
        }
        # References to the project itself.
        self.own = set(filter(is_own, references))
        # References to third-party packages, with all enclosing packages and modules.
        self.foreign = {
            *(name for string in strings for name in DRIVER.findall(string)),
            *(
                prefix
                for name in references - self.own
                if name.partition(".")[0] not in sys.stdlib_module_names
                for prefix in prefixes(name)
            ),
        }
        # The names that other modules can refer to.
        self.offers = {self.module, *(f"{self.module}.{name}" for name in names | MODULE_NAMES)}

    def _read_import(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                self.imported[name] = alias.name if alias.asname else name
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {self.module}"
            for alias in node.names:
                self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            yield str(node.module)

    def _read_class(self, node: ast.ClassDef) -> Class:
        bases = [
            self._read_attribute(base)
            if isinstance(base, ast.Attribute)
            else self.imported.get(ast.unparse(base), f"{self.module}.{ast.unparse(base)}")
            for base in node.bases
        ]
        fields = {
            statement.target.id
            for statement in node.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        }
        return Class([base for base in bases if base], fields)

    def _read_attribute(self, node: ast.AST) -> str | None:
        """Return the object of `cors.layer` if `cors` is a module, of the project or not."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            parent = self.imported.get(node.value.id)
            if parent and (parent in own_modules() or not is_own(parent)):
                return f"{parent}.{node.attr}"
        return None


@cache
def own_modules() -> frozenset[str]:
    """Return the modules of the template."""
    return frozenset(module_of(path) for path in template_files() if path.endswith(".py"))


def is_own(dotted: str) -> bool:
    """Return whether a name belongs to the project."""
    return dotted.partition(".")[0] in FIRST_PARTY


def module_of(path: str) -> str:
    """Return the dotted name of the module in a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def prefixes(dotted: str) -> Iterator[str]:
    """Yield a dotted name and all enclosing names."""
    parts = dotted.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, including those in conditions."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from top_level(node.body)
            yield from top_level(getattr(node, "orelse", []))


def bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
