from collections.abc import Callable

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.config import Settings
from app.factory import create_app
from app.realtime import set_up
from app.realtime.memory_hub import MemoryHub
from app.realtime.redis_hub import RedisHub


@pytest.mark.usefixtures("ready")
def test_without_redis_rooms_are_in_memory(make_client: Callable[..., TestClient]) -> None:
    client = make_client(websocket_queue_size=7)
    assert isinstance(client.app, FastAPI)
    hub = client.app.state.hub
    assert type(hub) is MemoryHub
    assert hub.queue_size == 7
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("url", "channel"), [("redis://h", "realtime:0"), ("redis://h:1/3", "realtime:3")]
)
def test_with_redis_rooms_span_processes(
    make_settings: Callable[..., Settings], url: str, channel: str
) -> None:
    hub = create_app(make_settings(redis_url=url, websocket_queue_size=7)).state.hub
    assert isinstance(hub, RedisHub)
    assert (hub.channel, hub.queue_size) == (channel, 7)


@pytest.mark.usefixtures("ready")
def test_the_service_is_not_ready_while_the_hub_is_unavailable(
    make_client: Callable[..., TestClient], make_settings: Callable[..., Settings]
) -> None:
    app, server = create_app(make_settings()), FakeServer()
    server.connected = False
    set_up(app, FakeAsyncRedis(server=server), queue_size=1)
    response = make_client(app).get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "Not ready: realtime"
