from collections.abc import Callable

import httpx2
import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient
from pydantic import ValidationError

from app.config import Settings
from app.core.settings import describe
from app.middleware.cors import CORSSettings

ORIGIN = "https://app.example.com"
OTHER_ORIGINS = """
    https://example.com http://app.example.com https://app.example.com:8443 https://APP.example.com
    https://app.example.com.evil.com https://evil.com/https://app.example.com null *
"""
NO_ORIGINS = """
    a.com https:// https://a.com/ https://a.com/b https://A.com https://*.a.com https://a.com?
    https://a@b.com https://a.com:b null [::1]
"""


def preflight(client: TestClient, origin: str, **headers: str) -> httpx2.Response:
    """Send the preflight of a browser."""
    request = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    return client.options("/nowhere", headers=request | headers)


def allowed(response: httpx2.Response) -> str | None:
    """Return the origin whose pages may read the response."""
    assert response.headers.get("access-control-allow-origin") == "*" or (
        "Origin" in response.headers["vary"]
    )
    return response.headers.get("access-control-allow-origin")


def test_a_preflight_allows_all_that_is_asked_for_without_a_credential(client: TestClient) -> None:
    client.headers.clear()
    response = preflight(client, ORIGIN, **{"Access-Control-Request-Headers": "x-own"})
    assert (response.status_code, allowed(response)) == (200, ORIGIN)
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-headers"] == "x-own"
    assert "PUT" in response.headers["access-control-allow-methods"]


@pytest.mark.parametrize("origin", ["", *OTHER_ORIGINS.split()])
def test_another_origin_is_allowed_nothing(origin: str, client: TestClient) -> None:
    response = preflight(client, origin)
    assert (response.status_code, allowed(response)) == (400, None)
    response = client.get("/", headers={"Origin": origin})
    assert (response.status_code, allowed(response)) == (200, None)


def test_only_an_allowed_origin_may_read_an_error(
    get_error: Callable[..., httpx2.Response],
) -> None:
    response = get_error(Origin=ORIGIN)
    assert allowed(response) == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert allowed(get_error(Origin="https://evil.com")) is None


def test_a_script_may_read_the_headers_of_this_service(
    client: TestClient, exposed: list[str]
) -> None:
    headers = client.get("/", headers={"Origin": ORIGIN}).headers
    assert headers["access-control-expose-headers"].split(", ") == exposed


def test_the_headers_that_a_script_may_read_are_a_setting(
    make_client: Callable[..., TestClient], exposed: list[str]
) -> None:
    client = make_client(cors_expose_headers="ETag,Location,X-Total")
    headers = client.get("/", headers={"Origin": ORIGIN}).headers
    expected = [*exposed, "ETag", "X-Total"]
    assert headers["access-control-expose-headers"].split(", ") == expected


@pytest.mark.parametrize(
    ("names", "credentials", "message"),
    [
        ("X Total", False, "must be names of headers"),
        ("X-Total:", False, "must be names of headers"),
        ("é", False, "must be names of headers"),
        ("ETag,*", True, "must list headers instead of *"),
    ],
)
def test_a_header_that_no_browser_exposes_is_rejected(
    names: str, credentials: bool, message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError) as error:
        make_settings(cors_expose_headers=names, cors_allow_credentials=credentials)
    (line,) = describe(error.value)
    assert line.startswith(f"CORS_EXPOSE_HEADERS: {message}")


def test_every_header_is_exposed_without_credentials(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(cors_expose_headers="*", cors_allow_credentials=False)
    headers = client.get("/", headers={"Origin": ORIGIN}).headers
    assert headers["access-control-expose-headers"].split(", ")[-1] == "*"


@pytest.mark.parametrize(
    ("setting", "status", "allowed"), [(True, 200, "true"), (False, 400, None)]
)
def test_a_preflight_for_a_private_network_needs_a_setting(
    setting: bool, status: int, allowed: str | None, make_client: Callable[..., TestClient]
) -> None:
    client = make_client(cors_allow_private_network=setting)
    request = {"Access-Control-Request-Private-Network": "true"}
    response = preflight(client, ORIGIN, **request)
    assert response.status_code == status
    assert response.headers.get("access-control-allow-private-network") == allowed
    assert "access-control-allow-private-network" not in preflight(client, ORIGIN).headers
    assert preflight(client, "https://evil.com", **request).status_code == 400


@pytest.mark.parametrize("origin", [ORIGIN, "https://example.com", None])
def test_what_a_route_says_itself_is_replaced_only_by_what_is_said_here(
    origin: str | None, app: FastAPI, client: TestClient
) -> None:
    @app.get("/own")
    async def read() -> Response:
        return Response(headers={"Access-Control-Allow-Origin": "https://a.com", "Vary": "Cookie"})

    headers = client.get("/own", headers={"Origin": origin} if origin else {}).headers
    expected = ORIGIN if origin == ORIGIN else "https://a.com"
    assert headers.get_list("access-control-allow-origin") == [expected]
    assert headers["vary"] == "Cookie, Origin"


def test_any_origin_is_allowed_without_credentials(make_client: Callable[..., TestClient]) -> None:
    client = make_client(backend_cors_origins="*", cors_allow_credentials=False)
    for response in (
        preflight(client, "https://a.com"),
        client.get("/", headers={"Origin": "null"}),
    ):
        assert (response.status_code, allowed(response)) == (200, "*")
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", ["http://[::1]:3000", "capacitor://localhost"])
def test_an_origin_has_any_scheme_and_port(
    origin: str, make_client: Callable[..., TestClient]
) -> None:
    assert allowed(preflight(make_client(backend_cors_origins=[origin]), origin)) == origin
    assert preflight(make_client(backend_cors_origins=[]), origin).status_code == 400


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        ("*", "must list origins instead of *"),
        ("https://a.com,*", "must list origins instead of *"),
        *((origin, "must be origins in lower case") for origin in NO_ORIGINS.split()),
        ("https://a.com b.com", "must be origins in lower case"),
    ],
)
def test_an_origin_that_is_unsafe_or_never_matches_is_rejected(
    origins: str, message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        make_settings(backend_cors_origins=origins.split(","))
    (line,) = describe(refusal.value)
    assert line.startswith(f"BACKEND_CORS_ORIGINS: {message}")


@pytest.mark.parametrize(
    ("origins", "risks"),
    [
        (["https://app.example.com"], []),
        (["*"], ["BACKEND_CORS_ORIGINS: accepts any page; list the origins instead of *"]),
        (
            ["http://localhost:3000"],
            ["BACKEND_CORS_ORIGINS: accepts localhost, which is for development; remove it"],
        ),
    ],
)
def test_any_page_is_a_risk(origins: list[str], risks: list[str]) -> None:
    settings = CORSSettings(
        backend_cors_origins=origins, cors_allow_credentials=False, docs_enabled=False
    )
    assert list(settings.risks()) == risks


def test_a_private_network_that_pages_may_reach_is_a_risk() -> None:
    (risk,) = CORSSettings(cors_allow_private_network=True, docs_enabled=False).risks()
    assert risk.startswith("CORS_ALLOW_PRIVATE_NETWORK: lets pages of the internet reach")
