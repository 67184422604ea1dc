from collections.abc import Callable

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError

from app.config import Settings
from app.core.redis import connect, set_up
from app.core.settings import describe
from app.factory import create_app


def test_without_a_url_there_is_no_client(make_client: Callable[..., TestClient]) -> None:
    app = create_app_of(make_client())
    assert app.state.redis is None
    assert "redis" not in app.state.checks


def test_a_client_connects_only_when_it_is_asked(make_settings: Callable[..., Settings]) -> None:
    app = create_app(make_settings(redis_url="redis://127.0.0.1:1/0"))
    assert app.state.redis.connection_pool.get_connection_count()[0][0] == 0


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock"])
def test_urls_of_redis(make_settings: Callable[..., Settings], url: str) -> None:
    assert connect(make_settings(redis_url=url)) is not None


@pytest.mark.parametrize("url", ["http://secret@h", "secret:6379", "redis://h:secret"])
def test_any_other_url_is_refused_and_not_shown(
    make_settings: Callable[..., Settings], url: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(redis_url=url)
    (line,) = describe(caught.value)
    assert line == "REDIS_URL: give a URL, such as redis://localhost:6379/0"
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown(make_settings: Callable[..., Settings]) -> None:
    assert "hunter2" not in repr(make_settings(redis_url="redis://:hunter2@h"))


def test_readiness_asks_redis(
    make_client: Callable[..., TestClient], make_settings: Callable[..., Settings]
) -> None:
    app, server = create_app(make_settings()), FakeServer()
    set_up(app, FakeAsyncRedis(server=server))
    client = make_client(app)
    assert client.get("/readyz").status_code == 200
    server.connected = False
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "Not ready: redis"
    assert client.get("/healthz").status_code == 200


def create_app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app
