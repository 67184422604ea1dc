"""What a service imports when it starts: nothing of a pick that is off, installed or not."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.service import environment

pytestmark = pytest.mark.slow

# Of picks that are off by default, and heavy.
LIBRARIES = "aiosqlite alembic argon2 jwt psycopg redis sqlalchemy taskiq websockets".split()
PROGRAM = "import sys, app.main; print(*{name.partition('.')[0] for name in sys.modules})"


@pytest.fixture
def python(shared: Path) -> Path:
    """An interpreter that has the libraries of every pick."""
    return shared / ".venv/bin/python"


def imported(python: Path, project: Path) -> set[str]:
    """Return the packages that the start of a project imports."""
    result = subprocess.run(
        [python, "-c", PROGRAM],
        cwd=project,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    return set(result.stdout.splitlines()[-1].split())


def test_a_pick_that_is_off_is_not_imported(bake: Bake, python: Path) -> None:
    assert imported(python, bake()).isdisjoint(LIBRARIES)


def test_a_pick_that_is_on_is(bake: Bake, python: Path) -> None:
    assert {"jwt", "sqlalchemy"} <= imported(python, bake(jwt="issue", database="sqlite"))
