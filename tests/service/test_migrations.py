"""The migrations of an owner: written by Alembic, and no reason for a test to fail."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.postgresql import SERVER, Database, at, require_server
from tests.support.service import environment, run_own_tests

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("migrations")]

# A type that was changed, a column that became nullable, one that is unique, and types that
# PostgreSQL alone has.
MODELS = {
    r"description: Mapped\[str\] = mapped_column\(String\(1000\)\)": """
    description: Mapped[str | None] = mapped_column(String(2000))
    number: Mapped[str | None] = mapped_column(String(20), unique=True)
    facts: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String(20)))
""".strip(),
    r"from sqlalchemy.orm": """
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm
""".strip(),
}


class Project:
    """A project, and a database of its own for its commands."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url

    def run(self, *command: str, status: int = 0, **variables: str) -> str:
        """Run a program of the project, and return what it printed."""
        result = subprocess.run(
            [self.path / ".venv/bin" / command[0], *command[1:]],
            cwd=self.path,
            env=environment(DATABASE_URL=self.url, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert result.returncode == status, f"{' '.join(command)}\n{result.stdout}"
        return result.stdout

    def revise(self, message: str) -> str:
        """Write a revision, apply it, check that nothing is left, and return the revision."""
        before = set(self.revisions())
        self.run("alembic", "revision", "--autogenerate", "-m", message)
        self.run("alembic", "upgrade", "head")
        self.check()
        [path] = set(self.revisions()) - before
        return path.read_text(encoding="utf-8")

    def check(self) -> None:
        """Check the history as the continuous integration of the project does."""
        assert "No new upgrade operations detected" in self.run("alembic", "check")
        self.run("ruff", "check")
        self.run("ruff", "format", "--check")

    def revisions(self) -> list[Path]:
        return list((self.path / "migrations/versions").glob("*.py"))

    def edit(self, path: str, changes: dict[str, str]) -> None:
        text = (self.path / path).read_text(encoding="utf-8")
        for pattern, new in changes.items():
            found = re.findall(pattern, text)
            assert len(found) == 1, pattern
            text = text.replace(found[0], new)
        (self.path / path).write_text(text, encoding="utf-8")


@pytest.fixture
def project(install: Bake) -> Iterator[Project]:
    """A project with PostgreSQL and users, whose database is at the first revision."""
    require_server()
    path = install(**NOTHING | {"database": "postgresql", "jwt": "issue"})
    database = Database(path)
    database.run(f"CREATE DATABASE {database.name}", SERVER)
    try:
        project = Project(path, at(SERVER, database.name))
        project.run("alembic", "upgrade", "head")
        project.check()
        yield project
    finally:
        database.run(f"DROP DATABASE {database.name} WITH (FORCE)", SERVER)


def test_ordinary_migrations_leave_the_tests_green(project: Project) -> None:
    project.edit("app/db/models.py", MODELS)
    revision = project.revise('Say "more" of \\items\\')
    assert "postgresql.JSONB" in revision
    assert "create_unique_constraint" in revision
    project.run("alembic", "downgrade", "base")
    project.run("alembic", "upgrade", "head")
    run_own_tests(project.path)


def test_a_revision_without_a_change_passes_the_linter(project: Project) -> None:
    project.run("alembic", "revision", "-m", "Move data")
    project.run("alembic", "upgrade", "head")
    project.check()


def test_two_heads_are_found_and_merged_as_alembic_says(project: Project) -> None:
    project.run("alembic", "revision", "-m", "Of one branch")
    project.run("alembic", "revision", "--splice", "--head", "0001", "-m", "Of another")
    tests = ("pytest", "-q", "-p", "no:cacheprovider", "tests/db/test_migration_state.py")
    assert "test_there_is_one_head" in project.run(*tests, "-k", "one_head", status=1)
    project.run("alembic", "merge", "heads", "-m", "Merge both branches")
    project.run("alembic", "upgrade", "head")
    project.check()
    project.run(*tests)


def test_the_table_of_the_example_can_be_removed(project: Project) -> None:
    models = project.path / "app/db/models.py"
    models.write_text('"""The tables of this service."""\n', encoding="utf-8")
    owned = project.path / "app/db/owned_items.py"
    owned.write_text('"""The tables of this service."""\n', encoding="utf-8")
    assert 'op.drop_table("items")' in project.revise("Remove items")
    project.run("alembic", "downgrade", "base")
    project.run("alembic", "upgrade", "head")
    project.check()


def test_a_migration_may_take_longer_than_a_request(project: Project) -> None:
    project.run("alembic", "revision", "-m", "Take a while")
    [path] = [path for path in project.revisions() if "take_a_while" in path.name]
    slow = 'def upgrade() -> None:\n    op.execute("SELECT pg_sleep(0.5)")'
    project.edit(str(path), {r"def upgrade\(\) -> None:\n    pass": slow})
    project.run("alembic", "upgrade", "head", DATABASE_STATEMENT_TIMEOUT="0.1")
