from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import ValidationError

from app.core.config import Settings
from app.core.settings import describe

ORIGIN = "https://app.example.com"
OTHER_ORIGINS = [
    "https://example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.com",
    "https://evil.com/https://app.example.com",
    "https://sub.app.example.com",
    "null",
    "",
    "*",
]


def ask(client: TestClient, origin: str, **headers: str) -> Response:
    """Send the preflight of a browser."""
    request = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    return client.options("/nowhere", headers=request | headers)


def test_a_preflight_allows_an_origin_whatever_it_asks_for(client: TestClient) -> None:
    response = ask(client, ORIGIN, **{"Access-Control-Request-Headers": "x-own"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-headers"] == "x-own"
    assert "PUT" in response.headers["access-control-allow-methods"]
    assert "Origin" in response.headers["vary"]


def test_a_preflight_needs_no_credential(client: TestClient) -> None:
    for name in set(client.headers) - {"host"}:
        del client.headers[name]
    assert ask(client, ORIGIN).status_code == 200


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_another_origin_is_allowed_nothing(origin: str, client: TestClient) -> None:
    response = ask(client, origin)
    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers
    response = client.get("/", headers={"Origin": origin})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert "Origin" in response.headers["vary"]


def test_an_allowed_origin_may_read_every_error(get_error: Callable[..., Response]) -> None:
    response = get_error(Origin=ORIGIN)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in response.headers["vary"]


def test_another_origin_may_read_no_error(get_error: Callable[..., Response]) -> None:
    assert "access-control-allow-origin" not in get_error(Origin="https://evil.com").headers


def test_a_script_may_read_the_headers_of_this_service(
    client: TestClient, exposed: list[str]
) -> None:
    headers = client.get("/", headers={"Origin": ORIGIN}).headers
    assert headers["access-control-expose-headers"].split(", ") == exposed


def test_any_origin_is_allowed_without_credentials(make_client: Callable[..., TestClient]) -> None:
    client = make_client(backend_cors_origins=["*"], cors_allow_credentials=False)
    for response in (ask(client, "https://a.com"), client.get("/", headers={"Origin": "null"})):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


def test_no_origin_is_allowed_by_default(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(backend_cors_origins=[])
    assert ask(client, ORIGIN).status_code == 400
    assert "access-control-allow-origin" not in client.get("/", headers={"Origin": ORIGIN}).headers


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        ("*", "any site could act as its visitor"),
        ("https://a.com,*", "any site could act as its visitor"),
        ("https://a.com/", "an origin is a scheme and a host"),
        ("https://a.com/path", "an origin is a scheme and a host"),
        ("a.com", "an origin is a scheme and a host"),
        ("https://", "an origin is a scheme and a host"),
        ("https://a.com b.com", "an origin is a scheme and a host"),
        ("null", "an origin is a scheme and a host"),
        ("https://*.a.com", "an origin is a scheme and a host"),
        ("https://A.com", "an origin is a scheme and a host"),
    ],
)
def test_an_origin_that_is_unsafe_or_never_matches_is_refused(
    origins: str, message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        make_settings(backend_cors_origins=origins)
    (line,) = describe(refusal.value)
    assert line.startswith(f"BACKEND_CORS_ORIGINS: {message}")


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://[::1]:3000", "capacitor://localhost"]
)
def test_an_origin_may_have_a_port_and_a_scheme_of_its_own(
    origin: str, make_client: Callable[..., TestClient]
) -> None:
    client = make_client(backend_cors_origins=[origin])
    assert ask(client, origin).headers["access-control-allow-origin"] == origin
