from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from pydantic import ValidationError

from app.config import Settings

NAMES = ["X-Example-Function", "X-Example-Class"]


@pytest.mark.parametrize("path", ["/", "/nowhere"])
@pytest.mark.parametrize("name", NAMES)
def test_both_styles_add_their_header(name: str, path: str, client: TestClient) -> None:
    assert client.get(path).headers[name] == "example"


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_a_setting(name: str, make_client: Callable[..., TestClient]) -> None:
    assert make_client(example_header="mine").get("/").headers[name] == "mine"


@pytest.mark.parametrize("value", ["é", "a\nX-Forged: b", "\x00"])
def test_a_value_that_is_not_valid_in_a_header_is_rejected(
    value: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError):
        make_settings(example_header=value)


def test_websockets_are_not_affected(app: FastAPI, make_client: Callable[..., TestClient]) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")

    with make_client(app).websocket_connect("/socket") as socket:
        assert socket.receive_text() == "hello"
