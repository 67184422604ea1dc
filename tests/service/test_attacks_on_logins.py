"""Reuse of refresh tokens, by two tabs and by a thief, with two processes on PostgreSQL."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import Bake
from tests.support import postgresql
from tests.support.postgresql import Database
from tests.support.service import copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("logins")]

TIMES = 1000
LIMITS = {"LOGIN_LIMIT": "1000/minute", "LOGIN_LIMIT_ADDRESS": "1000/minute"}


class Client:
    """A client that keeps its connection."""

    def __init__(self, address: str) -> None:
        self.connection = HTTPConnection(urlsplit(address).netloc, timeout=10)

    def post(self, path: str, body: str, kind: str = "application/json") -> tuple[int, Any]:
        """Send a request, and return the status and the decoded body of the response."""
        self.connection.request("POST", path, body, {"Content-Type": kind})
        with self.connection.getresponse() as response:
            content = response.read()
            return response.status, json.loads(content) if content else None

    def refresh(self, token: str) -> tuple[int, Any]:
        """Exchange a refresh token."""
        return self.post("/token/refresh", json.dumps({"refresh_token": token}))

    def log_in(self) -> str:
        """Log in, and return the refresh token."""
        form = urlencode({"username": "ada", "password": "correct horse battery staple"})
        status, tokens = self.post("/token", form, "application/x-www-form-urlencoded")
        assert status == 200
        return str(tokens["refresh_token"])


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """Return a project that issues tokens, with PostgreSQL."""
    return install(jwt="issue", database="postgresql")


@pytest.fixture(scope="module")
def database(project: Path) -> Iterator[Database]:
    """Create a database with the schema of the project."""
    with postgresql.database(project) as database:
        yield database


@pytest.fixture(scope="module")
def clients(
    project: Path, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Client]]:
    """Serve two processes, register a user, and return a client of each process."""
    with ExitStack() as stack:
        clients = []
        for name in ["first", "second"]:
            # A copy has the same secret.
            copy = copied(project, tmp_path_factory.mktemp("processes") / name)
            service = stack.enter_context(serving(copy, DATABASE_URL=database.url, **LIMITS))
            client = Client(service.address)
            stack.callback(client.connection.close)
            clients.append(client)
        user = {"username": "ada", "password": "correct horse battery staple"}
        assert clients[0].post("/users", json.dumps(user))[0] == 201
        yield clients


def at_once(clients: list[Client], token: str, pool: ThreadPoolExecutor) -> list[tuple[int, Any]]:
    """Refresh a token with all clients at the same time."""
    barrier = Barrier(len(clients))

    def refresh(client: Client) -> tuple[int, Any]:
        barrier.wait()
        return client.refresh(token)

    return list(pool.map(refresh, clients))


def test_two_tabs_share_one_login(clients: list[Client], database: Database) -> None:
    token = clients[0].log_in()
    seen = [token]
    with ThreadPoolExecutor(len(clients)) as pool:
        for _ in range(TIMES):
            responses = at_once(clients, token, pool)
            assert [status for status, _ in responses] == [200, 200]
            tokens = {tokens["refresh_token"] for _, tokens in responses}
            assert len(tokens) == 1
            token = tokens.pop()
            seen.append(token)
    assert len(set(seen)) == TIMES + 1
    assert database.run("SELECT count(*) FROM logins") == "1"


@pytest.mark.parametrize("age", [2, 3, 10])
def test_reuse_of_a_token_ends_the_login_in_every_process(
    age: int, clients: list[Client], database: Database
) -> None:
    tokens = [clients[0].log_in()]
    for turn in range(age):
        status, response = clients[turn % 2].refresh(tokens[-1])
        assert status == 200
        tokens.append(response["refresh_token"])
    assert clients[1].refresh(tokens[-1 - age])[0] == 401
    for client in clients:
        for token in tokens:
            assert client.refresh(token)[0] == 401


def test_concurrent_use_by_a_thief_and_a_victim_ends_the_login(
    clients: list[Client], database: Database
) -> None:
    database.run("DELETE FROM logins")
    with ThreadPoolExecutor(len(clients)) as pool:
        for _ in range(10):
            stolen = clients[0].log_in()
            _, response = clients[0].refresh(stolen)
            _, response = clients[0].refresh(response["refresh_token"])
            barrier = Barrier(2)

            def use(client: Client, token: str, barrier: Barrier = barrier) -> int:
                barrier.wait()
                return client.refresh(token)[0]

            thief, victim = pool.map(use, clients, [stolen, response["refresh_token"]])
            assert thief == 401
            assert victim in (200, 401)
    assert database.run("SELECT count(*) FROM logins") == "0"
