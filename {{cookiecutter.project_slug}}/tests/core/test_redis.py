import asyncio
from collections.abc import Callable
from unittest.mock import AsyncMock

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from redis.exceptions import (
    ClusterCrossSlotError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
)

from app.config import Settings
from app.core.readiness import Readiness
from app.core.redis import check, connect, set_up
from app.core.settings import describe
from app.factory import create_app


def test_without_a_url_there_is_no_client(make_client: Callable[..., TestClient]) -> None:
    app = create_app_of(make_client())
    assert app.state.redis is None
    assert "redis" not in app.state.checks


def test_a_client_connects_only_when_it_is_asked(make_settings: Callable[..., Settings]) -> None:
    app = create_app(make_settings(redis_url="redis://127.0.0.1:1/0"))
    assert app.state.redis.connection_pool.get_connection_count()[0][0] == 0


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h?db=1&socket_timeout=2",
        "redis://[::1]:6379/0",
        "redis://:p%40ss%2Fw%23@h/15",
        "rediss://u:p@h:1/2?ssl_cert_reqs=none",
        f"rediss://h?ssl_ca_certs={__file__}",
        "unix:///run/redis.sock?db=1&password=p",
    ],
)
def test_urls_of_redis(make_settings: Callable[..., Settings], url: str) -> None:
    assert connect(make_settings(redis_url=url)) is not None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://secret@h", "give a URL, such as"),
        ("secret:6379", "give a URL, such as"),
        ("redis://h:secret", "give a URL, such as"),
        ("redis://:sec/ret@h:1/0", "give a URL, such as"),
        ("redis://:sec?ret@h:1/0", "give a URL, such as"),
        ("redis://u:sec[ret@h:1/0", "give a URL, such as"),
        ("redis://one:1,secret:2/0", "give a URL, such as"),
        ("redis+sentinel://secret/main", "Redis Sentinel is not supported"),
        ("rediss+cluster://secret", "Redis Cluster is not supported"),
        ("redis://sec#ret@h:1/0", "contains a #"),
        ("redis://", "name one host"),
        ("redis://:secret@:6379/0", "name one host"),
        ("redis://one,secret/0", "name one host"),
        ("redis://secret:0/0", "name one host"),
        ("redis://h/secret", "name the database once, by its number"),
        ("redis://h/1/2", "name the database once, by its number"),
        ("redis://h/1?db=2", "name the database once, by its number"),
        ("redis://h?secret=1", "its parameters can be: client_name, db,"),
        ("redis://h?decode_responses=1", "its parameters can be: client_name, db,"),
        ("redis://h?ssl_cert_reqs=none", "its parameters can be: client_name, db,"),
        ("redis://h?db=1&db=2", "its parameters can be: client_name, db,"),
        ("redis://h?db=secret", "a parameter has a value that cannot be used"),
        ("redis://h?protocol=7", "a parameter has a value that cannot be used"),
        ("redis://h?socket_timeout=-1", "a parameter has a value that cannot be used"),
        ("redis://h?max_connections=0", "a parameter has a value that cannot be used"),
        ("rediss://h?ssl_cert_reqs=secret", "a parameter has a value that cannot be used"),
        ("rediss://h?ssl_ca_certs=/secret", "ssl_ca_certs names a file that cannot be read"),
        ("unix://secret", "name the socket"),
        ("unix://secret/run/redis.sock", "name the socket"),
    ],
)
def test_any_other_url_is_rejected_and_not_shown(
    make_settings: Callable[..., Settings], url: str, problem: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(redis_url=url)
    (line,) = describe(caught.value)
    assert line.startswith(f"REDIS_URL: {problem}")
    assert "sec" not in line and "ret" not in line
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown(make_settings: Callable[..., Settings]) -> None:
    assert "hunter2" not in repr(make_settings(redis_url="redis://:hunter2@h"))


@pytest.mark.usefixtures("ready")
def test_readiness_asks_redis(
    make_client: Callable[..., TestClient], make_settings: Callable[..., Settings]
) -> None:
    app, server = create_app(make_settings()), FakeServer()
    set_up(app, FakeAsyncRedis(server=server))
    client = make_client(app)
    assert client.get("/readyz").status_code == 200
    server.connected = False
    # A result is used for a second.
    app.state.readiness = Readiness()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "Not ready: redis"
    assert client.get("/healthz").status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("used memory > 'maxmemory'"), "OutOfMemoryError: used memory"),
        (ReadOnlyError("read only replica"), "ReadOnlyError: read only replica"),
        (MovedError("12182 127.0.0.1:7002"), "REDIS_URL leads to a cluster"),
        (ClusterCrossSlotError("keys"), "REDIS_URL leads to a cluster"),
    ],
)
async def test_a_redis_that_takes_no_writes_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    async with FakeAsyncRedis() as client:
        await check(client)
        monkeypatch.setattr(client, "mset", AsyncMock(side_effect=error))
        with pytest.raises(RuntimeError, match=reason):
            await check(client)


class Lost:
    """A Redis that loses a connection, or its role, at the first command of each connection."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        is_first = self.connections == 1
        while words := await reader.readline():
            for _ in range(int(words[1:])):
                await reader.readline()
                word = await reader.readline()
                if word == b"MSET\r\n":
                    answer = self.reply if is_first else b"+OK\r\n"
                elif _ == 0:
                    answer = b"+OK\r\n"
            writer.write(answer)
            if not answer:
                break
        writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reply", [b"", b"-READONLY You can't write against a read only replica.\r\n"]
)
async def test_a_command_is_sent_once_more_on_a_new_connection(
    make_settings: Callable[..., Settings], reply: bytes
) -> None:
    redis = Lost(reply)
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(make_settings(redis_url=f"redis://127.0.0.1:{port}?protocol=2"))
    assert client
    await check(client)
    assert redis.connections == 2
    await client.aclose()
    server.close()


def create_app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app
