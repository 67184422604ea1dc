"""A generated service behind a real PgBouncer in transaction mode."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.pgbouncer import pgbouncer
from tests.support.postgresql import Database, at, database, require_server, upgrade
from tests.support.service import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbouncer")]

CLIENTS = 20
REQUESTS = 30
TIMEOUT = "canceling statement due to statement timeout"
ROUTES = """
from fastapi import FastAPI
from sqlalchemy import text
from app.api.dependencies import DbSession
from app.main import app

@app.get("/timeout")
async def timeout(session: DbSession) -> str:
    return await session.scalar(text("SHOW statement_timeout"))

@app.post("/sleep")
async def sleep(session: DbSession) -> None:
    await session.execute(text("SELECT pg_sleep(60)"))
"""


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A project with PostgreSQL, and with the routes above."""
    require_server()
    project = install(**NOTHING | {"database": "postgresql"})
    (project / "routes.py").write_text(ROUTES)
    return project


@pytest.fixture
def pooler() -> Iterator[str]:
    """The URL of a PgBouncer."""
    with pgbouncer() as url:
        yield url


@pytest.fixture
def created(project: Path) -> Iterator[Database]:
    """A database with the schema."""
    with database(project) as database_:
        yield database_


def load(service: Service) -> Counter[int]:
    """Send requests that write and read, many at once, and count the statuses of the responses."""

    def work(client: int) -> list[int]:
        statuses = []
        for number in range(REQUESTS):
            body = {"name": f"{client} {number}"}
            statuses.append(service.post("/items", body).status)
            statuses.append(service.get("/items?limit=5").status)
        return statuses

    with ThreadPoolExecutor(CLIENTS) as threads:
        return Counter(status for found in threads.map(work, range(CLIENTS)) for status in found)


@pytest.mark.parametrize("timeout", ["30", "0"])
def test_many_requests_at_once(project: Path, created: Database, pooler: str, timeout: str) -> None:
    variables = {
        "DATABASE_URL": at(pooler, created.name),
        "DATABASE_POOLER": "true",
        "DATABASE_STATEMENT_TIMEOUT": timeout,
    }
    with serving(project, app="routes:app", **variables) as service:
        half = CLIENTS * REQUESTS
        assert load(service) == {201: half, 200: half}
        assert service.get("/readyz").status == 200
        shown = service.get("/timeout").json()
    assert shown == ("30s" if timeout == "30" else "0")
    assert created.run("SELECT count(*) FROM items") == str(half)


def test_a_statement_times_out_and_no_other_client_does(
    project: Path, created: Database, pooler: str
) -> None:
    url = at(pooler, created.name)
    variables = {"DATABASE_POOLER": "true", "DATABASE_STATEMENT_TIMEOUT": "0.2"}
    with serving(
        project, app="routes:app", error=TIMEOUT, DATABASE_URL=url, **variables
    ) as service:
        assert service.post("/sleep", {}).status == 500
        assert service.get("/timeout").json() == "200ms"
        # Who shares the connections to the server has their own settings.
        assert {created.run("SHOW statement_timeout", url) for _ in range(5)} == {"0"}


def test_migrations_run(project: Path, created: Database, pooler: str) -> None:
    other = Database(project)
    created.run(f"CREATE DATABASE {other.name}")
    try:
        url = at(pooler, other.name)
        upgrade(project, DATABASE_URL=url, DATABASE_POOLER="true")
        assert other.run("SELECT count(*) FROM items") == "0"
    finally:
        created.run(f"DROP DATABASE {other.name} WITH (FORCE)")


def test_without_the_setting_the_log_says_what_is_wrong(
    project: Path, created: Database, pooler: str
) -> None:
    with serving(project, app="routes:app", DATABASE_URL=at(pooler, created.name)) as service:
        response = service.get("/items")
        log = (project / "uvicorn.log").read_text(encoding="utf-8")
    assert response.status == 503
    assert json.loads(response.body)["error"]["message"] == "The database is unavailable"
    assert log.count("unsupported startup parameter: options") == 1
