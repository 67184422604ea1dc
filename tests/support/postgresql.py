"""A database of a test's own, on a real PostgreSQL."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from tests.support.redis_server import unavailable
from tests.support.service import environment, run

SERVER = os.environ.get("TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

# Run by the Python of a project, which has the driver.
SQL = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True, connect_timeout=3) as connection:
    cursor = connection.execute(sys.argv[2])
    print(cursor.fetchone()[0] if cursor.description else "")
"""


class Database:
    """A database, for a project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.name = f"test_{uuid4().hex}"
        self.url = urlsplit(SERVER)._replace(path=f"/{self.name}").geturl()

    def run(self, sql: str, url: str | None = None) -> str:
        """Run a statement with the driver of the project, and return the first value."""
        return run(self.project, ".venv/bin/python", "-c", SQL, url or self.url, sql).strip()


@contextmanager
def database(project: Path) -> Iterator[Database]:
    """Make a database that has the schema of a project, and drop it in the end."""
    require_server()
    database = Database(project)
    database.run(f"CREATE DATABASE {database.name}", SERVER)
    try:
        subprocess.run(
            [project / ".venv/bin/alembic", "upgrade", "head"],
            cwd=project,
            env=environment(DATABASE_URL=database.url),
            check=True,
            capture_output=True,
        )
        yield database
    finally:
        database.run(f"DROP DATABASE {database.name} WITH (FORCE)", SERVER)


def require_server() -> None:
    """Skip a test where no PostgreSQL answers, or fail it where one is required."""
    url = urlsplit(SERVER)
    try:
        socket.create_connection((url.hostname or "", url.port or 5432), timeout=2).close()
    except OSError as error:
        unavailable(f"PostgreSQL does not answer (TEST_DATABASE_URL): {error}")
