"""The facts about one file that the checks of a project need."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

import yaml

from tests.combinations.program import Program
from tests.support.options import OPTIONS

# Expressions that GitHub evaluates.
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
JINJA = re.compile(r"\{\{|\{%|%\}|cookiecutter\.\w")
WORDS = {word for row in OPTIONS for word in row.words}

# Files, modules and objects of the project, as documents and configuration files name them.
PATH = re.compile(r"(?<![\w./-])(?:app|tests|migrations)/[\w./-]*\w")
OBJECT = re.compile(r"(?<![\w./-])(?:-m (app(?:\.\w+)+)|(app(?:\.\w+)+:\w+))")
VARIABLE = re.compile(r"^(\w+)=", re.MULTILINE)
SETTINGS = re.compile(r"\| variable \|.*\n\|[-|]+\n((?:\|.*\n)+)")
NAME = re.compile(r"`(\w+)`")


def objects(text: str) -> Iterator[str]:
    """Yield the modules and the objects in modules that a text names."""
    for match in OBJECT.finditer(text):
        yield (match[1] or match[2]).replace(":", ".")


def of_example(text: str) -> Iterable[str]:
    """Return the variables in a file such as .env."""
    return VARIABLE.findall(text)


def of_readme(text: str) -> Iterable[str]:
    """Return the variables in the table of the settings."""
    rows = "".join(SETTINGS.findall(text)).splitlines()
    return [name for row in rows for name in NAME.findall(row.split("|")[1])]


def of_compose(text: str) -> Iterable[str]:
    """Return the variables of the containers that are built here."""
    services = yaml.safe_load(text)["services"].values()
    return [name for it in services if "build" in it for name in it.get("environment", ())]


VARIABLES: dict[str, Callable[[str], Iterable[str]]] = {
    ".env.example": of_example,
    "README.md": of_readme,
    "compose.yaml": of_compose,
}
PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}


class Facts:
    """The facts about a file."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.slips = [f"{path}: {slip}" for slip in slips(text)]
        said = f"{path}\n{text}".lower()
        self.words = {word for word in WORDS if word.lower() in said}
        suffix = path[path.rfind(".") :]
        self.data = PARSERS[suffix](text) if suffix in PARSERS else None
        self.program = Program(path, text) if suffix == ".py" else None
        # References in documents and configuration files.
        self.paths = set() if self.program else set(PATH.findall(text))
        self.objects = set() if self.program else set(objects(text))
        self.variables = set(VARIABLES[path](text)) if path in VARIABLES else set()


@cache
def facts(path: str, text: str) -> Facts:
    """Return the facts about a file, which are computed once per text."""
    return Facts(path, text)


def slips(text: str) -> list[str]:
    """Return the mistakes that no generated file may contain."""
    found = [f"Jinja is left: {match}" for match in JINJA.findall(EXPRESSION.sub("", text))]
    if "\r" in text or re.search(r"[ \t]\n", text):
        found.append("a line ends with white space")
    if text and not re.search(r"[^\n]\n\Z", text):
        found.append("the file does not end with exactly one newline")
    return found
