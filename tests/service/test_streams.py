"""Streams that read the database: the example of a project's README, and what it warns about."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.postgresql import database, require_server
from tests.support.service import Service, serving

pytestmark = pytest.mark.slow

# More streams than the pool has connections, and more rows than sockets and servers buffer.
STREAMS = 12
CONNECTIONS = "3"
ROWS = 3000
DEADLINE = 30

ROUTES = """
import asyncio
from collections.abc import AsyncIterator
from fastapi import APIRouter, Request, WebSocket
from fastapi.sse import EventSourceResponse
from sqlalchemy import insert, select
from app.api.dependencies import DbSession, DbSessions
from app.api.routes.items import ItemOut
from app.db.models import Item
from app.main import app

router = APIRouter()

{example}

{events}

@router.get("/held", response_class=EventSourceResponse)
async def held(session: DbSession) -> AsyncIterator[str]:
    for item in await session.scalars(select(Item)):
        yield item.name

@router.post("/fill")
async def fill(session: DbSession) -> None:
    rows = [dict(name=str(number), description="x" * 1000) for number in range({rows})]
    await session.execute(insert(Item), rows)

@router.get("/pool")
async def pool() -> int:
    return app.state.engine.pool.checkedout()

@router.post("/upload")
async def upload(request: Request, session: DbSession) -> None:
    session.add(Item(name="of an upload", description=""))
    await session.flush()
    await request.body()

@router.websocket("/ticks")
async def ticks(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text("tick")
        await asyncio.sleep(0.01)

app.include_router(router)
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(f"streams {name}"))
        for name in ("sqlite", "postgresql")
    ],
)
def project(request: pytest.FixtureRequest, install: Bake) -> Path:
    """A project with the routes above, the example of its README among them."""
    if request.param == "postgresql":
        require_server()
    project = install(**NOTHING | {"database": request.param, "use_websocket": True})
    readme = (project / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(@router.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    events = example.replace('"/export"', '"/events", response_class=EventSourceResponse')
    events = events.replace("export_items", "send_items")
    routes = ROUTES.replace("{rows}", str(ROWS)).replace("{example}", example)
    (project / "routes.py").write_text(routes.replace("{events}", events), encoding="utf-8")
    return project


@pytest.fixture
def url(project: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database with the schema."""
    if (project / "app/db/sqlite.py").exists():
        yield f"sqlite:///{tmp_path}/app.db"
        return
    with database(project) as created:
        yield created.url


class Stream:
    """A client that starts to read a response, and stops."""

    def __init__(self, service: Service, path: str) -> None:
        address = urlsplit(service.address)
        self.socket = socket.socket()
        # A window as small as it can be: what the client does not read waits in the service.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE)
        self.socket.connect((address.hostname, address.port))
        self.socket.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        self.received = self.socket.recv(1000)

    def read_all(self) -> str:
        while chunk := self.socket.recv(65536):
            self.received += chunk
        return self.received.decode()


@pytest.mark.parametrize("path", ["/export", "/events"])
def test_many_streams_leave_the_database_to_others(project: Path, url: str, path: str) -> None:
    variables = {"DATABASE_URL": url, "DATABASE_POOL_SIZE": CONNECTIONS}
    with serving(project, app="routes:app", **variables) as service, ExitStack() as stack:
        assert service.post("/fill", {}).status == 200
        streams = [Stream(service, path) for _ in range(STREAMS)]
        for stream in streams:
            stack.callback(stream.socket.close)
            assert stream.received.startswith(b"HTTP/1.1 200")
        for number in range(10):
            assert service.post("/items", {"name": f"beside {number}"}).status == 201
        assert service.get("/readyz").status == 200
        wait_until_free(service)
        for stream in streams:
            lines = [line for line in stream.read_all().splitlines() if '"name":"beside' in line]
            assert len(lines) == 10
        assert stream.received.decode().count('"name":') == ROWS + 10


def test_stream_that_takes_the_session_fails_at_once(project: Path, url: str) -> None:
    error = "held is a stream: the session of a request ends when its response begins"
    with serving(project, app="routes:app", error=error, DATABASE_URL=url) as service:
        for _ in range(3):
            response = service.get("/held")
            assert response.status == 500
            assert json.loads(response.body)["error"]["type"] == "server_error"
        wait_until_free(service)


def test_clients_that_leave_are_no_errors(project: Path, url: str) -> None:
    with serving(project, app="routes:app", DATABASE_URL=url) as service:
        address = urlsplit(service.address)
        for body in (
            "Content-Length: 1000\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf",
        ):
            with socket.create_connection((address.hostname or "", address.port or 0)) as client:
                client.sendall(f"POST /upload HTTP/1.1\r\nHost: localhost\r\n{body}".encode())
        for _ in range(3):
            with socket.create_connection((address.hostname or "", address.port or 0)) as client:
                client.sendall(
                    b"GET /ticks HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                client.settimeout(DEADLINE)
                received = b""
                while b"tick" not in received:
                    received += client.recv(1000)
        wait_until_free(service)
        assert service.get("/items").json()["items"] == []


def wait_until_free(service: Service) -> None:
    """Wait until no request holds a connection."""
    deadline = time.monotonic() + DEADLINE
    while service.get("/pool").json():
        assert time.monotonic() < deadline
        time.sleep(0.02)
