"""Fills the tables of settings in the documents: `uv run docs/settings.py`.

A setting is described once, in the docstring of the class that declares it:

    `NAME` (default): what it means, with its unit.

This copies the description into each row that begins with the name. A test fails while a row
differs, and for a setting without a description.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "{{cookiecutter.project_slug}}"
DOCUMENTS = [TREE / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ENTRY = re.compile(r"(?:^|(?<=\. ))`([A-Z][A-Z0-9_]+)`(?: \(((?:[^()]|\([^()]*\))*)\))?: ")
ROW = re.compile(r"^(.*\| `([A-Z][A-Z0-9_]+)` \| ([^|]*)\|)(?: ([^|]*))? \|$", re.MULTILINE)


class Setting(NamedTuple):
    """A setting as its class describes it."""

    name: str
    default: str
    meaning: str


def settings_classes() -> Iterator[ast.ClassDef]:
    """Yield the classes of the template that declare settings."""
    for path in sorted((TREE / "app").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
                yield node


def declared(node: ast.ClassDef) -> set[str]:
    """Return the variables that the settings of a class are read from."""
    return {
        ast.unparse(field.target).upper() for field in node.body if isinstance(field, ast.AnnAssign)
    }


def described(node: ast.ClassDef) -> Iterator[Setting]:
    """Yield the settings that the docstring of a class describes."""
    docstring = ast.get_docstring(node) or ""
    for paragraph in docstring.partition("Source:")[0].split("\n\n"):
        text = re.sub(r"\s+", " ", textwrap.dedent(paragraph)).strip()
        entries = list(ENTRY.finditer(text))
        ends = [*(entry.start() for entry in entries[1:]), len(text)][: len(entries)]
        for entry, end in zip(entries, ends, strict=True):
            name, default = entry[1], entry[2] or ""
            yield Setting(name, default, text[entry.end() : end].strip().removesuffix("."))


def settings() -> dict[str, list[Setting]]:
    """Return all descriptions by name. Options that exclude each other may share a name."""
    found: dict[str, list[Setting]] = {}
    for node in settings_classes():
        for setting in described(node):
            found.setdefault(setting.name, []).append(setting)
    return found


def undescribed() -> set[str]:
    """Return the settings that no docstring describes."""
    return {name for node in settings_classes() for name in declared(node)} - set(settings())


def fill(text: str) -> str:
    """Return a document whose rows say what the classes say."""
    known = settings()

    def row(match: re.Match[str]) -> str:
        start, name, default = match[1], match[2], match[3].strip().strip("`")
        candidates = known.get(name, [])
        if len(candidates) > 1:
            candidates = [each for each in candidates if each.default == (default or "none")]
        if not candidates:
            return match[0]
        setting = candidates[0]
        required = f"**{setting.default}**: " if setting.default.startswith("required") else ""
        return f"{start} {required}{setting.meaning} |"

    return ROW.sub(row, text)


def main() -> None:
    """Write the documents."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        path.write_text(fill(text), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
