"""Checks that the files of a project are consistent. Each function returns the problems."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

from tests.combinations.facts import Facts, facts
from tests.combinations.program import Program
from tests.support.options import FOR_COMPOSE, OPTIONS, Answers, chosen_options, files_of

# The distribution that a reference to a module, or to a part of it, requires. A dependency of a
# declared distribution that is part of its interface needs no declaration itself.
DISTRIBUTIONS = {
    "aiosqlite": "aiosqlite",
    "alembic": "alembic",
    "anyio": "fastapi",
    "argon2": "argon2-cffi",
    "cryptography": "pyjwt[crypto]",
    "fakeredis": "fakeredis[lua]",
    "fastapi": "fastapi",
    "httpx2": "httpx2",
    "jwt": "pyjwt",
    "opentelemetry": "fastapi",
    "psycopg": "psycopg[binary]",
    "pydantic": "pydantic",
    "pydantic_settings": "pydantic-settings",
    "pytest": "pytest",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "sqlalchemy.ext.asyncio": "sqlalchemy[asyncio]",
    "starlette": "fastapi",
    "taskiq": "taskiq",
}
# The distributions that a reference requires when the service runs.
AT_RUN_TIME = {
    "fastapi.Form": "python-multipart",
    "fastapi.WebSocket": "websockets",
}
# Distributions that are not imported: they are run, or used by a program that is run.
PROGRAMS = frozenset({"httptools", "uvicorn", "uvloop"})
TOOLS = frozenset({"mypy", "pytest", "pytest-cov", "ruff"})

REQUIREMENT = re.compile(r"([\w-]+)(\[\w+\])?")


class Programs:
    """All Python files of a project."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self.modules = {program.module: program for program in programs}
        self.offers = set().union(*(program.offers for program in self.modules.values()))
        self.problems = [
            f"{program.module}: there is no {name}"
            for program in self.modules.values()
            for name in program.own - self.offers
        ]
        self.settings = {name.upper() for name in self.fields_of("app.config.Settings")}
        self.distributions = self._distributions()

    def fields_of(self, dotted: str) -> set[str]:
        """Return the fields of a class of the project and of its bases."""
        module, _, name = dotted.rpartition(".")
        if module not in self.modules:
            return set()
        program = self.modules[module]
        if name in program.imported:
            return self.fields_of(program.imported[name])
        if name not in program.classes:
            return set()
        own = program.classes[name]
        return own.fields.union(*(self.fields_of(base) for base in own.bases))

    def _distributions(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the distributions that the service uses, and those that its tests use."""
        service: set[str] = set()
        tests: set[str] = set()
        for program in self.modules.values():
            (tests if program.module.startswith("tests.") else service).update(program.foreign)
        needed = {AT_RUN_TIME[name] for name in service if name in AT_RUN_TIME}
        if "app.auth.jwks" in self.modules:
            # PyJWT requires it for public keys.
            needed.add("pyjwt[crypto]")
        return PROGRAMS | with_bases(needed | imported(service)), TOOLS | with_bases(
            imported(tests)
        )


@lru_cache(maxsize=1)
def together(programs: tuple[Program, ...]) -> Programs:
    """Return all Python files of a project. Consecutive projects often have the same ones."""
    return Programs(programs)


def wrong(texts: Mapping[str, str], answers: Answers) -> list[str]:
    """Return the problems of a project."""
    files = {path: facts(path, text) for path, text in texts.items()}
    programs = together(tuple([file.program for file in files.values() if file.program]))
    return [
        *(slip for file in files.values() for slip in file.slips),
        *programs.problems,
        *wrong_files(set(files), answers),
        *wrong_words(files.values(), answers),
        *wrong_pointers(files, programs),
        *wrong_settings(files, programs),
        *wrong_dependencies(files["pyproject.toml"].data, programs),
        *wrong_containers(files, answers),
    ]


def wrong_files(paths: set[str], answers: Answers) -> list[str]:
    """Compare the files with those of the chosen options."""
    expected = files_of(answers) - {".env"}
    return differences("in the project", paths, expected)


def wrong_words(files: Iterable[Facts], answers: Answers) -> list[str]:
    """Find words of options that were not chosen."""
    taken = chosen_options(answers)
    left_out = {word for row in OPTIONS if row not in taken for word in row.words}
    return [
        f"{file.path}: mentions {word}"
        for file in files
        if not left_out.isdisjoint(file.words)
        for word in file.words & left_out
    ]


def wrong_pointers(files: Mapping[str, Facts], programs: Programs) -> list[str]:
    """Find references to files and objects that do not exist."""
    return [
        f"{file.path}: there is no {name}"
        for file in files.values()
        for name in (file.objects - programs.offers) | (file.paths - files.keys())
        if not any(path.startswith(f"{name}/") for path in files)
    ]


def wrong_settings(files: Mapping[str, Facts], programs: Programs) -> list[str]:
    """Compare the variables in `.env.example`, README.md and `compose.yaml` with the settings."""
    settings = programs.settings
    containers = files["compose.yaml"].variables if "compose.yaml" in files else set()
    return [
        *differences("in .env.example", files[".env.example"].variables - FOR_COMPOSE, settings),
        *differences("in README.md", files["README.md"].variables - FOR_COMPOSE, settings),
        *differences("in compose.yaml", containers, containers & settings),
    ]


def wrong_dependencies(metadata: Any, programs: Programs) -> list[str]:
    """Compare the dependencies with the imports, for the service and for development."""
    declared = requirements(metadata["project"]["dependencies"])
    development = requirements(metadata["dependency-groups"]["dev"])
    service, tests = programs.distributions
    return [
        *differences("in the dependencies", declared, service),
        *differences("in the group dev", development, tests - service),
    ]


def wrong_containers(files: Mapping[str, Facts], answers: Answers) -> list[str]:
    """Compare the containers with the answers, and their references with what is defined."""
    if "compose.yaml" not in files:
        return []
    compose: Any = files["compose.yaml"].data
    services = compose["services"]
    expected = {"app"}
    if answers["database"] == "postgresql":
        expected |= {"migrate", "postgres"}
    if answers["background_tasks"] == "taskiq":
        expected |= {"worker"}
    if "app/core/redis.py" in files:
        expected |= {"redis"}
    awaited = {name for service in services.values() for name in service.get("depends_on", ())}
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    volumes = {mount.partition(":")[0] for mount in mounts}
    return [
        *differences("a container", set(services), expected),
        *differences("a container that another depends on", awaited, awaited & set(services)),
        *differences("a volume", set(compose.get("volumes", ())), volumes),
    ]


def differences(what: str, there: AbstractSet[str], expected: AbstractSet[str]) -> list[str]:
    """Return a message for each name that is unexpected or missing."""
    if there == expected:
        return []
    return [
        *(f"{name} is {what}, and should not be" for name in sorted(there - expected)),
        *(f"{name} is not {what}, and should be" for name in sorted(expected - there)),
    ]


def imported(names: Iterable[str]) -> set[str]:
    """Return the distributions that imports of these names require."""
    unknown = {name for name in names if "." not in name and name not in DISTRIBUTIONS}
    return unknown | {DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS}


def requirements(lines: Iterable[str]) -> set[str]:
    """Return the names of requirements."""
    return with_bases(match[0] for line in lines if (match := REQUIREMENT.match(line)))


def with_bases(names: Iterable[str]) -> set[str]:
    """Return the names of distributions, and those with extras without them too."""
    return {part for name in names for part in (name, name.partition("[")[0])}
