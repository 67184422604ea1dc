import logging
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.testclient import TestClient
from starlette.authentication import UnauthenticatedUser
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.auth.keys import KeysUnavailable
from app.auth.tokens import InvalidToken, TokenUser
from app.config import Settings
from app.factory import create_app
from app.middleware import jwt
from tests.auth.support import make_token
from tests.support import call_app, reject_websocket

Log = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def app(make_settings: Callable[..., Settings]) -> FastAPI:
    app = create_app(make_settings(jwt_leeway=0))

    @app.get("/who")
    async def read(connection: HTTPConnection) -> list[Any]:
        return [connection.user.display_name, connection.auth.scopes]

    @app.websocket("/socket")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.user.display_name)
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    @app.websocket("/chosen")
    async def choose(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
        await websocket.close()

    return app


@pytest.fixture
def client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    client = make_client(app)
    del client.headers["Authorization"]
    return client


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
def test_a_token_is_who_calls(
    scheme: str,
    client: TestClient,
) -> None:
    token = make_token(scope="a b")
    response = client.get("/who", headers={"Authorization": f"{scheme} {token}"})
    assert response.json() == ["user-of-the-tests", ["authenticated", "a", "b"]]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": ""}])
def test_without_a_token_the_user_is_anonymous(headers: dict[str, str], client: TestClient) -> None:
    assert client.get("/who", headers=headers).json() == ["", []]
    with client.websocket_connect("/socket", headers=headers) as socket:
        assert socket.receive_text() == ""


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "bearer x", "Bearer x y"])
@pytest.mark.parametrize("path", ["/who", "/nowhere", "/healthz"])
def test_a_bad_token_is_rejected_and_logged_without_it(
    path: str, value: str, client: TestClient, log: Log
) -> None:
    response = client.get(path, headers={"Authorization": value})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert response.json() == {
        "success": False,
        "error": {"code": 401, "message": "Invalid access token", "type": "unauthorized"},
    }
    [record] = [record for record in log() if record["logger"] == jwt.logger.name]
    assert record["message"] == "refused a token: malformed"


def test_two_tokens_are_one_too_many(
    client: TestClient,
) -> None:
    token = make_token()
    value = f"Bearer {token}"
    for first in [value, "Basic YTpi", ""]:
        headers = [("Authorization", first), ("Authorization", value)]
        assert client.get("/who", headers=headers).status_code == 401
    response = reject_websocket(
        client, "/socket", **{"Authorization": value, "Sec-WebSocket-Protocol": f"bearer, {token}"}
    )
    assert response.status_code == 401


def test_the_query_is_no_place_for_a_token(
    client: TestClient,
) -> None:
    assert client.get("/who", params={"access_token": make_token()}).json() == ["", []]
    with client.websocket_connect(f"/socket?token={make_token()}") as socket:
        assert socket.receive_text() == ""


def test_a_socket_takes_the_token_from_the_header(
    client: TestClient,
) -> None:
    headers = {"Authorization": f"Bearer {make_token()}"}
    with client.websocket_connect("/socket", headers=headers, subprotocols=["chat"]) as socket:
        assert socket.accepted_subprotocol is None
        assert socket.receive_text() == "user-of-the-tests"
    with client.websocket_connect("/chosen", headers=headers, subprotocols=["chat"]) as socket:
        assert socket.accepted_subprotocol == "chat"


def test_a_socket_takes_the_token_from_the_subprotocol(
    client: TestClient,
) -> None:
    protocols = ["bearer", make_token()]
    with client.websocket_connect("/socket", subprotocols=protocols) as socket:
        assert socket.accepted_subprotocol == "bearer"
        assert socket.receive_text() == "user-of-the-tests"
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    with client.websocket_connect("/chosen", subprotocols=[*protocols, "chat"]) as socket:
        assert socket.accepted_subprotocol == "chat"


@pytest.mark.parametrize("protocols", ["bearer", "bearer, x", "bearer, , x"])
def test_a_socket_with_a_bad_token_is_rejected(
    protocols: str, client: TestClient, log: Log
) -> None:
    response = reject_websocket(client, "/socket", **{"Sec-WebSocket-Protocol": protocols})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert response.json()["error"]["type"] == "unauthorized"
    assert "refused a token: malformed" in [record["message"] for record in log()]


def test_a_socket_is_closed_when_its_token_expires(client: TestClient, log: Log) -> None:
    headers = {"Authorization": f"Bearer {make_token(exp=int(time.time()) + 2)}"}
    with client.websocket_connect("/socket", headers=headers) as socket:
        assert socket.receive_text() == "user-of-the-tests"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 3000
        assert closed.value.reason == "The access token expired"
    assert "closing a socket: its token expired" in [record["message"] for record in log()]


class StubVerifier:
    """Believes everything, for a moment."""

    leeway = 0
    claims: dict[str, Any] = {"sub": "user", "exp": 0}
    error: Exception | None = None

    async def verify(self, token: bytes) -> TokenUser:
        if self.error:
            raise self.error
        return TokenUser(self.claims)


@pytest.mark.parametrize("exp", [0, -(10**400)])
def test_after_the_end_a_socket_neither_sends_nor_receives(
    exp: int,
) -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await anyio.sleep(0.01)
        # The client never reads, so it does not know that it is not heard any more.
        received.append(await receive())
        with pytest.raises(OSError, match="expired"):
            await send({"type": "websocket.send", "text": "secret"})

    verifier: Any = StubVerifier()
    verifier.claims = {"sub": "user", "exp": exp}
    middleware = jwt.JWTMiddleware(app, verifier=verifier, ignored_paths=[])
    message = {"type": "websocket.receive", "text": "do it"}
    headers = [(b"authorization", b"Bearer x")]
    sent = call_app(middleware, message, type="websocket", headers=headers, subprotocols=[])
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert received == [{"type": "websocket.disconnect", "code": 3000}]


@pytest.mark.parametrize("messages", [["accept", "close"], ["close"], ["accept"], []])
def test_a_socket_that_ended_is_not_closed_again(
    messages: list[str],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send({"type": f"websocket.{message}"})

    verifier: Any = StubVerifier()
    verifier.claims = {"sub": "user", "exp": 10**400}
    middleware = jwt.JWTMiddleware(app, verifier=verifier, ignored_paths=[])
    headers = [(b"authorization", b"Bearer x")]
    sent = call_app(middleware, type="websocket", headers=headers, subprotocols=[])
    assert [message["type"] for message in sent] == [f"websocket.{name}" for name in messages]


@pytest.mark.parametrize(("wait", "seconds"), [(10, b"10"), (3.2, b"4"), (0, b"1"), (-1, b"1")])
def test_while_the_keys_are_not_known_the_service_is_not_available(
    wait: float, seconds: bytes
) -> None:
    verifier: Any = StubVerifier()
    verifier.error = KeysUnavailable(wait)
    middleware = jwt.JWTMiddleware(FastAPI(), verifier=verifier, ignored_paths=[])
    start, _ = call_app(middleware, headers=[(b"authorization", b"Bearer x")])
    assert start["status"] == 503
    assert (b"retry-after", seconds) in start["headers"]


def test_log_records_name_the_user_by_the_sub(client: TestClient, app: FastAPI, log: Log) -> None:
    @app.get("/log")
    async def write() -> None:
        logging.getLogger("another").warning("something happened")

    token = make_token(sub="1", preferred_username="admin")
    client.get("/log", headers={"Authorization": f"Bearer {token}"})
    [record] = [record for record in log() if record["logger"] == "another"]
    assert record["user"] == "1"
    assert "admin" not in str(record)
    client.get("/log")
    assert "user" not in log()[-1]


def test_some_paths_do_not_look_at_tokens() -> None:
    users = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        users.append(scope["user"])

    verifier: Any = StubVerifier()
    verifier.error = InvalidToken("bad")
    middleware = jwt.JWTMiddleware(app, verifier=verifier, ignored_paths=["/token"])
    headers = [(b"authorization", b"Bearer x")]
    for path in ["/token", "/token/x"]:
        assert call_app(middleware, headers=headers, path=path) == []
        assert isinstance(users.pop(), UnauthenticatedUser)
    assert call_app(middleware, headers=headers, path="/tokens")[0]["status"] == 401


def test_what_is_neither_http_nor_websocket_passes() -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    verifier: Any = StubVerifier()
    call_app(jwt.JWTMiddleware(app, verifier=verifier, ignored_paths=[]), type="lifespan")
    assert "user" not in scopes[0]
