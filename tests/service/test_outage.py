"""A generated service whose PostgreSQL is stopped and started again."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.postgresql import PostgreSQLServer, postgresql_server, upgrade
from tests.support.service import Response, Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("outage")]

# Seconds. A connection that was used less than that ago is not asked whether it is alive.
IDLE = 1
CONNECTIONS = 5
DEADLINE = 10


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A project with PostgreSQL."""
    return install(**NOTHING | {"database": "postgresql"})


@pytest.fixture
def server(project: Path) -> Iterator[PostgreSQLServer]:
    """A server of the test's own, with the schema of the project."""
    with postgresql_server() as server:
        upgrade(project, DATABASE_URL=server.url)
        yield server


def create(service: Service) -> Response:
    return service.post("/items", {"name": uuid4().hex})


def create_many(service: Service) -> Counter[int]:
    """Create items, so many at once that every connection of the pool is used."""
    with ThreadPoolExecutor(CONNECTIONS * 2) as threads:
        responses = threads.map(lambda _: create(service), range(CONNECTIONS * 4))
        return Counter(response.status for response in responses)


def restart(server: PostgreSQLServer) -> None:
    """Restart a server, and wait until every connection to it has idled."""
    used = time.monotonic()
    server.stop()
    server.start()
    time.sleep(max(0, used + IDLE - time.monotonic()))


def wait_for_readiness(service: Service, status: int) -> None:
    """Wait until readiness, which may be a second old, is what it is now."""
    deadline = time.monotonic() + DEADLINE
    while service.get("/readyz").status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_restart_while_connections_idle_fails_no_request(
    project: Path, server: PostgreSQLServer
) -> None:
    size = str(CONNECTIONS)
    with serving(project, DATABASE_URL=server.url, DATABASE_POOL_SIZE=size) as service:
        for _ in range(3):
            assert create_many(service) == {201: CONNECTIONS * 4}
            restart(server)
            assert create(service).status == 201
            restart(server)


def test_an_outage(project: Path, server: PostgreSQLServer) -> None:
    size = str(CONNECTIONS)
    with serving(project, DATABASE_URL=server.url, DATABASE_POOL_SIZE=size) as service:
        for outages in (1, 2):
            assert create_many(service) == {201: CONNECTIONS * 4}
            server.stop()
            assert create_many(service) == {503: CONNECTIONS * 4}
            response = create(service)
            assert response.headers["Retry-After"] == "5"
            assert response.json()["error"]["message"] == "The database is unavailable"
            assert service.get("/healthz").status == 200
            wait_for_readiness(service, 503)
            server.start()
            assert create(service).status == 201
            wait_for_readiness(service, 200)
            log = (project / "uvicorn.log").read_text(encoding="utf-8")
            assert log.count("the database is unavailable") == outages
            assert log.count("the database is available again") == outages
