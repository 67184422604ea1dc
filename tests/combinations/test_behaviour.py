"""Projects of the covering array: types, and responses as documented in OpenAPI."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.combinations.covering import covering_array
from tests.combinations.rendering import difference
from tests.combinations.serving import credentials, served
from tests.conftest import Bake
from tests.support.options import Answers
from tests.support.service import run

pytestmark = pytest.mark.slow

# `Allow` of a 405 names the methods of one route only, because Starlette has a route per method.
CHECKS = ["--checks=all", "--exclude-checks=allow_header_conformance"]
AMOUNT = ["--phases=examples,coverage,fuzzing", "--max-examples=10", "--seed=1"]
AMOUNT += ["--no-shrink", "--generation-database=none"]

RecordProperty = Callable[[str, object], None]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in covering_array()],
)
def answers(request: pytest.FixtureRequest) -> Answers:
    """Return one row of the covering array."""
    return covering_array()[request.param]


@pytest.fixture(scope="module")
def project(install: Bake, answers: Answers) -> Path:
    """Return the project of one row."""
    project = install(**answers)
    assert difference(answers, project) == set()
    return project


def test_it_passes_mypy(project: Path, shared: Path) -> None:
    run(project, ".venv/bin/mypy", f"--cache-dir={shared / 'mypy'}")


def test_its_responses_conform_to_its_schema(
    project: Path, answers: Answers, record_property: RecordProperty
) -> None:
    with served(project, answers) as service:
        headers = credentials(service, project, answers).items()
        sent = [f"--header={name}:{value}" for name, value in headers]
        url = f"{service.address}/openapi.json"
        # A schema cannot say which passwords are easy to guess.
        excluded = ["--exclude-checks=positive_data_acceptance"] * (answers["jwt"] == "issue")
        output = run(project, ".venv/bin/st", "run", url, *sent, *CHECKS, *AMOUNT, *excluded)
        paths = service.get("/openapi.json").json()["paths"]
        operations = sum(len(path) for path in paths.values())
        assert f"{operations} selected / {operations} total" in output
    record_property("served", 1)
