"""A service does not import libraries of options that were not chosen, even if installed."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.service import environment

pytestmark = pytest.mark.slow

# Large libraries of options that are off by default.
LIBRARIES = "aiosqlite alembic argon2 httpx2 jwt psycopg redis sqlalchemy taskiq websockets".split()
PROGRAM = "import sys, app.main; print(*{name.partition('.')[0] for name in sys.modules})"


@pytest.fixture
def python(shared: Path) -> Path:
    """Return an interpreter that has the libraries of all options."""
    return shared / ".venv/bin/python"


def imported(python: Path, project: Path) -> set[str]:
    """Return the packages that a project imports when it starts."""
    result = subprocess.run(
        [python, "-c", PROGRAM],
        cwd=project,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    return set(result.stdout.splitlines()[-1].split())


def test_an_option_that_is_off_is_not_imported(bake: Bake, python: Path) -> None:
    assert imported(python, bake()).isdisjoint(LIBRARIES)


def test_an_option_that_is_on_is_imported(bake: Bake, python: Path) -> None:
    assert {"jwt", "sqlalchemy"} <= imported(python, bake(jwt="issue", database="sqlite"))
