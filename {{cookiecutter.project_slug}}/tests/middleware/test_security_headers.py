from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from app.config import Settings
from app.middleware.security_headers import SecurityHeadersMiddleware
from tests.support import call_app, reject_websocket

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "content-security-policy": "frame-ancestors 'none'",
}


def test_every_response_has_the_headers(client: TestClient) -> None:
    assert client.get("/").headers.items() >= HEADERS.items()


def test_every_error_has_the_headers(get_error: Callable[..., Response]) -> None:
    assert get_error().headers.items() >= HEADERS.items()


def test_a_rejected_websocket_has_the_headers(client: TestClient) -> None:
    assert reject_websocket(client, "/nowhere").headers.items() >= HEADERS.items()


@pytest.mark.parametrize(
    ("scheme", "changes", "expected"),
    [
        ("http", {}, None),
        ("https", {}, "max-age=31536000"),
        ("https", {"hsts_max_age": 60}, "max-age=60"),
        ("https", {"hsts_max_age": 0}, None),
    ],
)
def test_hsts_is_sent_over_https_only(
    scheme: str,
    changes: dict[str, int],
    expected: str | None,
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(**changes)
    response = client.get(f"{scheme}://testserver/")
    assert response.headers.get("strict-transport-security") == expected
    response = reject_websocket(client, f"{scheme.replace('http', 'ws')}://testserver/nowhere")
    assert response.headers.get("strict-transport-security") == expected


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ({}, HEADERS.keys()),
        (
            {"headers": [(b"Content-Security-Policy", b"default-src 'self'")]},
            ["Content-Security-Policy", "x-content-type-options", "referrer-policy"],
        ),
    ],
)
def test_a_header_of_a_route_is_kept(own: Message, names: list[str]) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, **own})

    (start,) = call_app(SecurityHeadersMiddleware(respond, hsts_max_age=0))
    assert [name.decode() for name, _ in start["headers"]] == list(names)


def test_a_negative_age_is_rejected(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(hsts_max_age=-1)
