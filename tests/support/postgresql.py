"""PostgreSQL for tests: a database on the one that is there, and servers that may be stopped."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from tests.support.redis_server import DEADLINE, free_port, unavailable
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
    """A database for a project."""

    def __init__(self, project: Path, server: str = SERVER) -> None:
        self.project = project
        self.server = server
        self.name = f"test_{uuid4().hex}"
        self.url = at(server, self.name)

    def run(self, sql: str, url: str | None = None) -> str:
        """Run a statement with the driver of the project, and return the first value."""
        return run(self.project, ".venv/bin/python", "-c", SQL, url or self.url, sql).strip()


@dataclass
class PostgreSQLServer:
    """A PostgreSQL of a test's own: it can be stopped and started again."""

    directory: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        command = ["-D", str(self.directory / "data"), "-p", str(self.port)]
        for option in options:
            command += ["-c", option]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("postgres"), *command], stdout=log, stderr=log, user=user()
            )
        deadline = time.monotonic() + DEADLINE
        while not responds(self.url):
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "postgres does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, and with it all connections."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE)


@contextmanager
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """Run a PostgreSQL of the test's own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if owner := user():
            # It refuses to run as root.
            shutil.chown(directory, owner)
        subprocess.run(
            [program("initdb"), "-D", directory / "data", "-U", "postgres", "-A", "trust", "-N"],
            check=True,
            capture_output=True,
            user=user(),
        )
        server = PostgreSQLServer(directory)
        server.start()
        try:
            yield server
        finally:
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait(DEADLINE)


@contextmanager
def database(project: Path, server: str = SERVER) -> Iterator[Database]:
    """Make a database that has the schema of a project, and drop it in the end."""
    require_server()
    database = Database(project, server)
    database.run(f"CREATE DATABASE {database.name}", server)
    try:
        upgrade(project, DATABASE_URL=database.url)
        yield database
    finally:
        database.run(f"DROP DATABASE {database.name} WITH (FORCE)", server)


def upgrade(project: Path, **variables: str) -> None:
    """Run the migrations of a project."""
    subprocess.run(
        [project / ".venv/bin/alembic", "upgrade", "head"],
        cwd=project,
        env=environment(**variables),
        check=True,
        capture_output=True,
    )


def require_server() -> None:
    """Skip the test if no PostgreSQL server is reachable; fail it if REQUIRE_SERVICES is set."""
    if not responds(SERVER):
        unavailable("PostgreSQL does not respond (TEST_DATABASE_URL)")


def responds(url: str) -> bool:
    """Tell whether a PostgreSQL responds to a request for TLS, which it does before any login."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 5432), 2) as client:
            client.sendall(bytes.fromhex("00000008 04d2162f"))
            return client.recv(1) in (b"S", b"N")
    except OSError:
        return False


def at(url: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def program(name: str) -> str:
    """Return a program of the server, which Debian keeps out of the way of everybody."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=":".join([os.environ["PATH"], *map(str, newest)]))
    if found is None:
        unavailable(f"{name} is not installed")
    return str(found)


def user() -> str | None:
    """Return the user that PostgreSQL runs as, if this one is root."""
    return "postgres" if os.geteuid() == 0 else None
