"""Every 2xx is committed durably: a generated service is killed under load."""

import http.client
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.postgresql import database, require_server
from tests.support.service import address, environment, run

pytestmark = pytest.mark.slow

CLIENTS = 8
PROCESSES = 4
KILLS = 10
SECONDS_OF_TERMINATING = 4

# Additional routes, such as a user might write.
ROUTES = """
import asyncio
from fastapi import HTTPException, Response
from sqlalchemy import text
from app.api.dependencies import DbSession
from app.db.models import Item
from app.main import app

@app.post("/raises/{name}")
async def raises(name: str, session: DbSession):
    session.add(Item(name=name, description=""))
    await session.flush()
    raise RuntimeError("after the write")

@app.post("/returns/{name}")
async def returns(name: str, session: DbSession):
    session.add(Item(name=name, description=""))
    await session.flush()
    return Response(status_code=404)

@app.post("/orphan/{name}")
async def orphan(name: str, session: DbSession):
    session.add(Item(name=name, description=""))
    await session.execute(text("INSERT INTO child VALUES (1)"))

@app.post("/tables")
async def tables(session: DbSession):
    await session.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
    await session.execute(text(
        "CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    ))

@app.get("/pool")
async def pool():
    return app.state.engine.pool.checkedout()
"""

# Run by the Python of the project, which has the driver.
TERMINATE = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    for _ in range(int(float(sys.argv[2]) / 0.05)):
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        time.sleep(0.05)
"""


@dataclass
class Service:
    """A generated service and its database, which a test starts and stops."""

    project: Path
    database_url: str
    address: str = ""
    log: str = ""

    @contextmanager
    def running(self, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Serve the service. Afterwards, `log` contains its log."""
        output = self.project / "uvicorn.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [self.project / ".venv/bin/uvicorn", "routes:app", "--port", "0"],
                cwd=self.project,
                env=environment(DATABASE_URL=self.database_url, LOG_LEVEL="INFO", **variables),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.address = address(process, output)
            yield process
        finally:
            process.terminate()
            process.wait()
            self.log = output.read_text(encoding="utf-8")

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)

    def send(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send one request on a new connection, and return the status and the body."""
        with closing(self.connect()) as connection:
            return send(connection, method, path, body)

    def stored(self) -> set[str]:
        """Return the names of all items."""
        names: list[str] = []
        after: int | None = 0
        while after is not None:
            page = json.loads(self.send("GET", f"/items?limit=100&after={after}")[1])
            names += [item["name"] for item in page["items"]]
            after = page["next"]
        assert len(names) == len(set(names))
        return set(names)


@dataclass
class Load:
    """Clients that create items until they are stopped.

    `sent`: the names of all items. `statuses`: the status of each response by name.
    """

    service: Service
    sent: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self.create) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def create(self) -> None:
        with closing(self.service.connect()) as connection:
            while not self.stop.is_set():
                name = uuid4().hex
                self.sent.add(name)
                try:
                    self.statuses[name] = send(connection, "POST", "/items", {"name": name})[0]
                except ConnectionRefusedError:
                    return
                except (OSError, http.client.HTTPException):
                    connection.close()

    @property
    def created(self) -> set[str]:
        return {name for name, status in self.statuses.items() if status == 201}

    @property
    def failed(self) -> set[str]:
        return {name for name, status in self.statuses.items() if status != 201}


def send(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None
) -> tuple[int, bytes]:
    """Send one request on a connection, and return the status and the body."""
    headers = {"Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("sqlite", "postgresql")
    ],
)
def project(request: pytest.FixtureRequest, install: Bake) -> Path:
    """Install a project with the additional routes."""
    if request.param == "postgresql":
        require_server()
    project = install(**NOTHING | {"database": request.param})
    (project / "routes.py").write_text(ROUTES)
    return project


@pytest.fixture
def service(project: Path, tmp_path: Path) -> Iterator[Service]:
    """Return the service of the project with a new database."""
    if (project / "app/db/sqlite.py").exists():
        yield Service(project, f"sqlite:///{tmp_path}/app.db")
        return
    with database(project) as created:
        yield Service(project, created.url)


def test_killed_under_load(service: Service) -> None:
    sent: set[str] = set()
    created: set[str] = set()
    for _ in range(KILLS):
        with service.running() as process, Load(service) as load:
            time.sleep(random.uniform(0.1, 0.6))
            process.kill()
        sent |= load.sent
        created |= load.created
    with service.running():
        stored = service.stored()
    assert len(created) > KILLS
    assert created <= stored <= sent


def test_backends_terminated_under_load(service: Service) -> None:
    if not service.database_url.startswith("postgresql"):
        pytest.skip("SQLite has no server")
    with service.running():
        with Load(service) as load:
            seconds = str(SECONDS_OF_TERMINATING)
            run(service.project, ".venv/bin/python", "-c", TERMINATE, service.database_url, seconds)
        stored = service.stored()
        assert json.loads(service.send("GET", "/pool")[1]) == 0
    assert load.created <= stored
    assert load.failed
    assert not load.failed & stored


def test_a_failed_request_stores_nothing(service: Service) -> None:
    with service.running():
        assert service.send("POST", "/tables")[0] == 200
        # More requests than the pool has connections, to show that each is still usable.
        for number in range(20):
            assert service.send("POST", f"/returns/{number}")[0] == 404
            for path in ("/raises", "/orphan"):
                status, body = service.send("POST", f"{path}/{number}")
                assert (status, json.loads(body)["success"]) == (500, False)
        assert service.stored() == set()
        assert service.send("POST", "/items", {"name": "next"})[0] == 201
        assert service.stored() == {"next"}
        assert json.loads(service.send("GET", "/pool")[1]) == 0


def test_disconnected_clients_leave_no_connection_checked_out(service: Service) -> None:
    with service.running(DATABASE_POOL_SIZE="2"):
        host = urlsplit(service.address)
        for number in range(50):
            body = json.dumps({"name": str(number)})
            with socket.create_connection((host.hostname or "", host.port or 0)) as client:
                client.sendall(
                    b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
        assert service.send("POST", "/items", {"name": "next"})[0] == 201
        assert_pool_is_whole(service)
    assert "never closed" not in service.log
    assert "non-checked-in" not in service.log


def test_more_requests_than_connections(service: Service) -> None:
    statuses: list[int] = []

    def request(number: int) -> None:
        statuses.append(service.send("POST", "/items", {"name": str(number)})[0])

    with service.running(DATABASE_POOL_SIZE="5", DATABASE_POOL_TIMEOUT="30"):
        run_at_once(request, 500)
        assert_pool_is_whole(service)
        assert service.stored() == set(map(str, range(500)))
    assert statuses == [201] * 500
    assert "never closed" not in service.log
    assert "non-checked-in" not in service.log


def run_at_once(function: Callable[[int], None], times: int) -> None:
    threads = [threading.Thread(target=function, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_pool_is_whole(service: Service) -> None:
    deadline = time.monotonic() + 10
    while (checked_out := json.loads(service.send("GET", "/pool")[1])) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert checked_out == 0


def test_many_processes_start_at_once(service: Service) -> None:
    with service.running(WEB_CONCURRENCY=str(PROCESSES)):
        deadline = time.monotonic() + 60
        output = service.project / "uvicorn.log"
        while output.read_text().count("startup complete") < PROCESSES:
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        assert service.send("POST", "/items", {"name": "one"})[0] == 201
        assert service.send("GET", "/readyz")[0] == 200
    assert "Traceback" not in service.log
