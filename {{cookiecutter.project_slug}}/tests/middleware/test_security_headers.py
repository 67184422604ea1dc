from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from app.core.config import Settings
from app.middleware.security_headers import SecurityHeadersMiddleware

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "content-security-policy": "frame-ancestors 'none'",
}


def test_every_answer_has_them(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers.items() >= HEADERS.items()


def test_every_error_has_them(get_error: Callable[..., Response]) -> None:
    assert get_error().headers.items() >= HEADERS.items()


@pytest.mark.parametrize(
    ("url", "changes", "expected"),
    [
        ("http://testserver", {}, None),
        ("https://testserver", {}, "max-age=31536000"),
        ("https://testserver", {"hsts_max_age": 60}, "max-age=60"),
        ("https://testserver", {"hsts_max_age": 0}, None),
    ],
)
def test_browsers_shall_insist_on_https_where_it_is_used(
    url: str, changes: dict[str, int], expected: str | None, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(**changes).get(url)
    assert response.headers.get("strict-transport-security") == expected


@pytest.mark.parametrize("name", ["Content-Security-Policy", "content-security-policy"])
def test_a_header_of_a_route_stays(name: str, exchange: Callable[..., list[Message]]) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    start, *_ = exchange(SecurityHeadersMiddleware(answer, hsts_max_age=0))
    values = [value for key, value in start["headers"] if key.lower() == name.lower().encode()]
    assert values == [b"default-src 'self'"]
    assert (b"x-content-type-options", b"nosniff") in start["headers"]


def test_an_answer_without_headers_gets_them(exchange: Callable[..., list[Message]]) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    start, *_ = exchange(SecurityHeadersMiddleware(answer, hsts_max_age=0))
    assert len(start["headers"]) == len(HEADERS)


def test_a_refused_websocket_has_them(client: TestClient, refuse: Callable[..., Response]) -> None:
    response = refuse(client, "/nowhere")
    assert response.headers.items() >= HEADERS.items()
    assert "strict-transport-security" not in response.headers
    secure = refuse(client, "wss://testserver/nowhere")
    assert secure.headers["strict-transport-security"] == "max-age=31536000"


def test_an_accepted_websocket_is_left_alone(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")

    with make_client(app).websocket_connect("/socket") as socket:
        assert socket.receive_text() == "hello"


def test_an_age_below_nothing_is_refused(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(hsts_max_age=-1)
