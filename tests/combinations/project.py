"""What the files of a project have to agree upon. Each function returns what is wrong."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

from tests.combinations.facts import Facts, facts
from tests.combinations.program import Program
from tests.support.picks import FOR_COMPOSE, OWNED, Answers, files_of, owned_by

# The distributions that it takes to refer to a module, or to a part of one. What comes with a
# distribution that is declared, and belongs to its interface, needs no declaration.
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
# What has to be there for a service that refers to something, and for its server.
AT_RUN_TIME = {
    "fastapi.Form": "python-multipart",
    "fastapi.WebSocket": "websockets",
}
# What nothing imports: it is run, or found by what is run.
PROGRAMS = frozenset({"httptools", "uvicorn", "uvloop"})
TOOLS = frozenset({"mypy", "pytest", "pytest-cov", "ruff"})

REQUIREMENT = re.compile(r"([\w-]+)(\[\w+\])?")


class Programs:
    """The Python files of a project, together."""

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
        """Return the fields of a class of the project, and of those it inherits from."""
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
        """Return the names of the distributions that the service uses, and those that tests do."""
        service: set[str] = set()
        tests: set[str] = set()
        for program in self.modules.values():
            (tests if program.module.startswith("tests.") else service).update(program.foreign)
        needed = {AT_RUN_TIME[name] for name in service if name in AT_RUN_TIME}
        if "app.auth.jwks" in self.modules:
            # PyJWT asks for it where keys are public.
            needed.add("pyjwt[crypto]")
        return PROGRAMS | with_bases(needed | imported(service)), TOOLS | with_bases(
            imported(tests)
        )


@lru_cache(maxsize=1)
def together(programs: tuple[Program, ...]) -> Programs:
    """Return the Python files of a project, which those after it often share."""
    return Programs(programs)


def wrong(texts: Mapping[str, str], answers: Answers) -> list[str]:
    """Return what is wrong with a project."""
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
    """Compare the files with the table of what was picked."""
    expected = files_of(answers) - {".env"}
    return differences("there", paths, expected)


def wrong_words(files: Iterable[Facts], answers: Answers) -> list[str]:
    """Look for words of what was left out."""
    taken = owned_by(answers)
    left_out = {word for row in OWNED if row not in taken for word in row.words}
    return [
        f"{file.path}: it says {word}"
        for file in files
        if not left_out.isdisjoint(file.words)
        for word in file.words & left_out
    ]


def wrong_pointers(files: Mapping[str, Facts], programs: Programs) -> list[str]:
    """Look for files and objects that people and tools are pointed to, and that are not there."""
    return [
        f"{file.path}: there is no {name}"
        for file in files.values()
        for name in (file.objects - programs.offers) | (file.paths - files.keys())
        if not any(path.startswith(f"{name}/") for path in files)
    ]


def wrong_settings(files: Mapping[str, Facts], programs: Programs) -> list[str]:
    """Compare the variables that are set, and those that are described, with the settings."""
    settings = programs.settings
    containers = files["compose.yaml"].variables if "compose.yaml" in files else set()
    return [
        *differences("in .env.example", files[".env.example"].variables - FOR_COMPOSE, settings),
        *differences("in README.md", files["README.md"].variables - FOR_COMPOSE, settings),
        *differences("in compose.yaml", containers, containers & settings),
    ]


def wrong_dependencies(metadata: Any, programs: Programs) -> list[str]:
    """Compare the dependencies with what is imported, for the service and for development."""
    declared = requirements(metadata["project"]["dependencies"])
    development = requirements(metadata["dependency-groups"]["dev"])
    service, tests = programs.distributions
    return [
        *differences("in the dependencies", declared, service),
        *differences("in the group dev", development, tests - service),
    ]


def wrong_containers(files: Mapping[str, Facts], answers: Answers) -> list[str]:
    """Compare the containers with the answers, and what they use with what there is."""
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
        *differences("a container that is awaited", awaited, awaited & set(services)),
        *differences("a volume", set(compose.get("volumes", ())), volumes),
    ]


def differences(what: str, there: AbstractSet[str], expected: AbstractSet[str]) -> list[str]:
    """Say what there is too much and too little of."""
    if there == expected:
        return []
    return [
        *(f"{name} is {what}, and should not be" for name in sorted(there - expected)),
        *(f"{name} is not {what}, and should be" for name in sorted(expected - there)),
    ]


def imported(names: Iterable[str]) -> set[str]:
    """Return the distributions that it takes to import all this."""
    unknown = {name for name in names if "." not in name and name not in DISTRIBUTIONS}
    return unknown | {DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS}


def requirements(lines: Iterable[str]) -> set[str]:
    """Return the names of requirements."""
    return with_bases(match[0] for line in lines if (match := REQUIREMENT.match(line)))


def with_bases(names: Iterable[str]) -> set[str]:
    """Return names of distributions, and of those with extras the ones without as well."""
    return {part for name in names for part in (name, name.partition("[")[0])}
