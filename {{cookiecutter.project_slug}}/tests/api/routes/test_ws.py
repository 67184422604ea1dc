import asyncio
import json
from contextlib import AbstractContextManager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.authentication import BaseUser, UnauthenticatedUser
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.routes import ws
from app.api.routes.ws import sender_of
from app.realtime.hub import Unavailable

Session = WebSocketTestSession


def enter(client: TestClient, room: str = "lobby") -> AbstractContextManager[Session, bool | None]:
    return client.websocket_connect(f"/ws/{room}")


def joined(session: Session) -> str:
    """Receive a `joined` message and return the name of its sender."""
    message = session.receive_json()
    assert (message["type"], set(message)) == ("joined", {"type", "room", "sender"})
    return str(message["sender"])


def test_echo(client: TestClient) -> None:
    with client.websocket_connect("/ws") as session:
        for text in ("hello", "", "\N{HEDGEHOG}" * 100, '{"text": "x"}', "\0"):
            session.send_text(text)
            assert session.receive_text() == f"Message received: {text}"


def test_echo_closes_the_connection_after_a_binary_message(client: TestClient) -> None:
    with client.websocket_connect("/ws") as session:
        session.send_bytes(b"\xff")
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
        assert (caught.value.code, caught.value.reason) == (1003, "Send text")


def test_a_message_goes_to_everyone_in_the_room(client: TestClient) -> None:
    with enter(client) as first:
        sender = joined(first)
        with enter(client) as second, enter(client, "other") as other:
            other_sender = joined(other)
            name = joined(second)
            assert joined(first) == name
            first.send_json({"text": "hello \N{HEDGEHOG}"})
            message = {"type": "message", "room": "lobby", "sender": sender}
            for session in (first, second):
                assert session.receive_json() == message | {"text": "hello \N{HEDGEHOG}"}
            other.send_json({"text": "here"})
            assert other.receive_json()["sender"] == other_sender
        assert first.receive_json() == {"type": "left", "room": "lobby", "sender": name}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        "[]",
        "null",
        '"text"',
        '{"text": 1}',
        '{"text": null}',
        '{"text": "a"',
        '{"text": "\\ud800"}',
        '{"Text": "a"}',
        "[" * 10_000,
        "\0",
        "NaN",
    ],
)
def test_an_invalid_message_gets_an_error_in_return(client: TestClient, text: str) -> None:
    with enter(client) as session:
        joined(session)
        session.send_text(text)
        error = 'Send JSON, such as {"text": "Hello"}'
        assert session.receive_json() == {"type": "error", "room": "lobby", "text": error}
        session.send_json({"text": "still here"})
        assert session.receive_json()["text"] == "still here"


def test_a_binary_message_gets_an_error_in_return(client: TestClient) -> None:
    with enter(client) as session:
        joined(session)
        session.send_bytes(b'{"text": "a"}')
        error = "Send text, not binary"
        assert session.receive_json() == {"type": "error", "room": "lobby", "text": error}


def test_a_sender_cannot_be_forged(client: TestClient) -> None:
    with enter(client) as session:
        sender = joined(session)
        session.send_json({"text": "a", "sender": "admin", "type": "left", "room": "other"})
        expected = {"type": "message", "room": "lobby", "sender": sender, "text": "a"}
        assert session.receive_json() == expected


@pytest.mark.parametrize("room", ["a b", "%0a", "a" * 65, "\N{HEDGEHOG}", "a:b", "a~b"])
def test_invalid_room_names_are_rejected(client: TestClient, room: str) -> None:
    with pytest.raises(WebSocketDenialResponse) as caught, enter(client, room):
        pass
    assert caught.value.status_code == 422
    assert caught.value.json()["error"]["type"] == "unprocessable_content"


def test_empty_rooms_are_removed(client: TestClient) -> None:
    with enter(client), enter(client), enter(client, "a.b_c-D"):
        pass
    assert isinstance(client.app, FastAPI)
    assert client.app.state.hub.rooms == {}


def test_the_client_learns_that_its_message_was_not_sent(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(room: str, text: str) -> None:
        raise Unavailable

    assert isinstance(client.app, FastAPI)
    with enter(client) as session:
        joined(session)
        monkeypatch.setattr(client.app.state.hub, "publish", publish)
        session.send_json({"text": "a"})
        error = "Not sent: try again later"
        assert session.receive_json() == {"type": "error", "room": "lobby", "text": error}
    with enter(client) as session:
        session.send_text("bad")
        assert session.receive_json()["type"] == "error"


def test_leaving_does_not_wait_long_for_a_hub_that_hangs(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(room: str, text: str) -> None:
        if json.loads(text)["type"] == "left":
            await asyncio.Event().wait()

    monkeypatch.setattr(ws, "NOTICE_TIMEOUT", 0.01)
    assert isinstance(client.app, FastAPI)
    monkeypatch.setattr(client.app.state.hub, "publish", publish)
    with enter(client):
        pass


def test_left_is_published_even_if_the_application_is_cancelled(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = []

    async def publish(room: str, text: str) -> None:
        await asyncio.sleep(0.02)
        published.append(json.loads(text)["type"])

    assert isinstance(client.app, FastAPI)
    monkeypatch.setattr(client.app.state.hub, "publish", publish)
    # The test client cancels the application as soon as it has closed its end.
    with enter(client):
        pass
    assert published[-1] == "left"


class NamedUser(BaseUser):
    """A user whose name is not what identifies them."""

    is_authenticated = True
    identity = "1"
    display_name = "alice"


class User(NamedUser):
    display_name = "1"


def test_the_sender_is_the_identity_of_the_user_and_the_name_is_apart() -> None:
    assert sender_of(create_websocket(NamedUser())) == ("1", "alice")
    assert sender_of(create_websocket(User())) == ("1", None)


@pytest.mark.parametrize("user", [None, UnauthenticatedUser()])
def test_without_a_user_each_socket_has_a_sender_of_its_own(user: Any) -> None:
    senders = [sender_of(create_websocket(user)) for _ in range(100)]
    assert {name for _, name in senders} == {None}
    names = {sender for sender, _ in senders}
    assert len(names) == 100
    assert all(name.startswith("guest-") for name in names)


def create_websocket(user: Any) -> WebSocket:
    async def nothing(*args: Any) -> Any: ...

    return WebSocket({"type": "websocket", "user": user}, nothing, nothing)
