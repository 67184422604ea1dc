"""Fixtures that generate projects."""

import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from pytest_cookies.plugin import Cookies

from tests.combinations.rendering import render
from tests.combinations.summary import pytest_terminal_summary as pytest_terminal_summary
from tests.support.options import COMBINATIONS, DEFAULTS, QUESTIONS, Answer, Answers
from tests.support.redis_server import RedisServer, redis_server
from tests.support.service import uv
from tests.support.template import ROOT

SCHEMATHESIS = "schemathesis>=4.32"

Bake = Callable[..., Path]
Projects = Callable[[str], Path]


class Rejected(Exception):
    """The template rejected the answers. The text is what the user saw."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test except the weekly ones as `full`."""
    for item in items:
        if not item.get_closest_marker("weekly"):
            item.add_marker(pytest.mark.full)


@pytest.fixture(scope="session")
def bake(cookies_session: Cookies) -> Bake:
    """Return a function that generates a project from answers. It raises Rejected on rejection."""

    def bake(**answers: Answer) -> Path:
        check(answers)
        with standard_error() as captured:
            result = cookies_session.bake(extra_context=answers, template=str(ROOT))
            captured.seek(0)
            seen = captured.read().decode()
        if result.exception is not None:
            raise Rejected(seen) from result.exception
        return Path(result.project_path)

    return bake


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one environment for all projects, which saves installing each."""
    directory = tmp_path_factory.mktemp("shared")
    requirements = {SCHEMATHESIS}
    for answers in COMBINATIONS.values():
        metadata = tomllib.loads(render(DEFAULTS | answers)["pyproject.toml"])
        requirements.update(metadata["project"]["dependencies"])
        requirements.update(metadata["dependency-groups"]["dev"])
    # A list of strings is the same in JSON and in TOML.
    (directory / "pyproject.toml").write_text(
        '[project]\nname = "shared"\nversion = "0"\nrequires-python = ">=3.11"\n'
        f"dependencies = {json.dumps(sorted(requirements))}\n"
    )
    uv(directory, "sync")
    return directory


@pytest.fixture(scope="session")
def install(bake: Bake, shared: Path) -> Bake:
    """Return a function like `bake` whose projects use the shared environment.

    Tests of a project's own dependencies cannot use it.
    """

    def install(**answers: Answer) -> Path:
        project = bake(**answers)
        (project / ".venv").symlink_to(shared / ".venv")
        return project

    return install


@pytest.fixture(scope="session")
def projects(bake: Bake) -> Projects:
    """Return a function that returns the project of a combination, for reading only."""
    baked: dict[str, Path] = {}

    def project(combination: str) -> Path:
        if combination not in baked:
            baked[combination] = bake(**COMBINATIONS[combination])
        return baked[combination]

    return project


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Run a Redis server for this test."""
    with redis_server() as server:
        yield server


def check(answers: Answers) -> None:
    """Raise for an answer that Cookiecutter would ignore or convert silently."""
    for question, answer in answers.items():
        if question not in QUESTIONS:
            raise KeyError(f"there is no question {question!r}")
        default = QUESTIONS[question]
        if isinstance(default, list):
            if answer not in default:
                raise ValueError(f"{answer!r} is not a choice of {question}: {default}")
        elif type(answer) is not type(default):
            raise TypeError(f"{question} must be {type(default).__name__}, not {answer!r}")


@contextmanager
def standard_error() -> Iterator[BinaryIO]:
    """Capture the standard error of this process and of the hooks that it runs."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(saved, 2)
            os.close(saved)
