from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from starlette.responses import PlainTextResponse

from app.config import Settings
from app.core.settings import describe
from app.middleware.api_key import APIKeyMiddleware, APIKeySettings
from tests.support import call_app, reject_websocket

LAYER = APIKeyMiddleware(
    PlainTextResponse("served"),
    keys=[SecretStr("key-one"), SecretStr("key-two")],
    public_paths=["/", "/docs", "/a/b/", "/.well-known/a"],
)
PUBLIC = """
    / /docs /docs/ /docs/oauth2-redirect /docs/a/b/c/d /docs%2fa /%64ocs /a/b /a/b/ /a/b/c
    /.well-known/a
"""
PRIVATE = r"""
    * // /items /items/docs /docs-secret /docs.json /docs;a /docs%00 /docs%0a /docs%20 /DOCS //docs
    /docs//items /docs/../items /docs/..%2fitems /docs/%2e%2e/items /docs/.%2e/items /docs/./items
    /docs%2f..%2fitems /docs/.. /./docs /%2e/docs /docs%252fitems /docs\..\items /a /a/bc /a/B /a//b
    /.well-known /.well-known/b
"""
MOUNTED = {
    "/api/docs": 200,
    "/api/": 200,
    "/api": 401,
    "/api/items": 401,
    "/apidocs": 401,
    "/api/api/docs": 401,
    "/api//docs": 401,
}


@pytest.mark.parametrize(
    ("target", "status"),
    [*((target, 200) for target in PUBLIC.split()), *((target, 401) for target in PRIVATE.split())],
)
def test_only_public_paths_and_paths_below_them_need_no_key(target: str, status: int) -> None:
    assert call_app(LAYER, path=unquote(target), headers=[])[0]["status"] == status


@pytest.mark.parametrize(("path", "status"), MOUNTED.items())
def test_public_paths_are_relative_to_the_mount_point(path: str, status: int) -> None:
    assert call_app(LAYER, path=path, root_path="/api", headers=[])[0]["status"] == status


@pytest.mark.parametrize("host", [b"", b"testserver/docs?", b"testserver/docs#", b"\xff"])
def test_the_host_header_does_not_change_the_path(host: bytes) -> None:
    assert call_app(LAYER, path="/items", headers=[(b"host", host)])[0]["status"] == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "get", ""])
def test_every_method_requires_a_key(method: str) -> None:
    assert call_app(LAYER, path="/items", method=method, headers=[])[0]["status"] == 401


@pytest.mark.parametrize("key", [b"key-one", b"key-two"])
def test_every_valid_key_is_accepted(key: bytes) -> None:
    sent = call_app(LAYER, path="/items", headers=[(b"x-api-key", key)])
    assert sent[0]["status"] == 200


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"key-on"],
        [b"key-one "],
        [b"key-one\x00"],
        [b"KEY-ONE"],
        [b"key-one,key-two"],
        [b"key-one", b"key-one"],
        [b"key-one", b"other"],
        [b"other", b"key-one"],
        ["ключ".encode()],
        [b"\xff\xfe"],
        [b"x" * 60_000],
    ],
)
def test_invalid_keys_are_rejected(values: list[bytes]) -> None:
    headers = [(b"x-api-key", value) for value in values]
    start, body = call_app(LAYER, path="/items", headers=headers)
    assert start["status"] == 401
    assert (b"www-authenticate", b"APIKey") in start["headers"]
    assert b'"message":"Invalid API key","type":"unauthorized"' in body["body"]


@pytest.fixture
def make_client_without_key(make_client: Callable[..., TestClient]) -> Callable[..., TestClient]:
    """Return a function that makes a client without a key."""

    def make(**changes: Any) -> TestClient:
        client = make_client(**changes)
        del client.headers["X-API-Key"]
        return client

    return make


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/healthz", "/readyz"])
def test_the_root_the_documentation_and_the_health_checks_are_public(
    path: str, make_client_without_key: Callable[..., TestClient]
) -> None:
    assert make_client_without_key().get(path).status_code == 200


@pytest.mark.parametrize(
    ("paths", "root", "nowhere"),
    [("/nowhere", 401, 404), ('["/", "/nowhere/"]', 200, 404), ("[]", 401, 401)],
)
def test_the_public_paths_are_a_setting_for_websockets_too(
    paths: str,
    root: int,
    nowhere: int,
    make_client_without_key: Callable[..., TestClient],
) -> None:
    client = make_client_without_key(api_key_public_paths=paths)
    assert client.get("/").status_code == root
    assert client.get("/nowhere").status_code == nowhere
    assert reject_websocket(client, "/nowhere").status_code == nowhere


def test_a_websocket_requires_a_key(client: TestClient) -> None:
    assert reject_websocket(client, "/nowhere").status_code == 404
    response = reject_websocket(client, "/nowhere", **{"X-API-Key": "other"})
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "APIKey")


def test_it_can_be_turned_off(make_client_without_key: Callable[..., TestClient]) -> None:
    client = make_client_without_key(api_key_enabled=False, api_keys=[])
    assert client.get("/nowhere").status_code == 404
    assert "APIKey" not in client.get("/openapi.json").text


def test_openapi_declares_the_key_for_paths_that_require_it(
    app: FastAPI, client: TestClient
) -> None:
    @app.get("/key")
    async def require_key() -> None: ...

    @app.get("/both", dependencies=[Security(HTTPBearer())])
    async def require_both() -> None: ...

    schema = client.get("/openapi.json").json()
    scheme = schema["components"]["securitySchemes"]["APIKey"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    paths = ("/key", "/both", "/", "/healthz")
    security = {path: schema["paths"][path]["get"].get("security") for path in paths}
    assert security["/key"] == [{"APIKey": []}]
    assert security["/both"] == [{"HTTPBearer": [], "APIKey": []}]
    assert security["/"] is security["/healthz"] is None
    assert client.get("/openapi.json").json() == schema


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"API_KEYS": "first,second"}, ["first", "second"]),
        ({"API_KEYS": '["first", "second,third"]'}, ["first", "second,third"]),
        ({"API_KEYS": "", "API_KEY": "first"}, ["first"]),
        ({"API_KEYS": "first", "API_KEY": "second"}, ["first"]),
        ({"API_KEYS": "change-me", "DEBUG": "true"}, ["change-me"]),
        ({"API_KEYS": "", "API_KEY_ENABLED": "false"}, []),
    ],
)
def test_keys_are_read_from_either_variable(
    variables: dict[str, str], expected: list[str], environ: Callable[..., None]
) -> None:
    environ(**variables)
    assert [key.get_secret_value() for key in Settings().api_keys] == expected
    assert not any(key in repr(Settings()) for key in expected)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "needs at least one key, unless API_KEY_ENABLED=false"),
        (",", "needs at least one key, unless API_KEY_ENABLED=false"),
        ("hunter2,change-me", "contains the placeholder of .env.example or a key that repeats"),
        ("change-me-hunter2", "contains the placeholder of .env.example or a key that repeats"),
        ("hunter2hunter2", "contains the placeholder of .env.example or a key that repeats"),
        ("hunter2-ключ", "must contain only printable ASCII characters"),
        ('["hunter2\\n"]', "must contain only printable ASCII characters"),
        ('[" "]', "must contain only printable ASCII characters"),
        ('[""]', "must contain only printable ASCII characters"),
    ],
)
@pytest.mark.parametrize("variable", ["API_KEYS", "API_KEY"])
def test_invalid_keys_are_not_printed(
    variable: str, keys: str, message: str, environ: Callable[..., None]
) -> None:
    environ(**({"API_KEYS": ""} | {variable: keys}))
    with pytest.raises(ValidationError) as caught:
        Settings()
    (line,) = describe(caught.value)
    assert line.startswith(f"API_KEYS: {message}; make one with python -c")
    assert "hunter2" not in line + str(caught.value)


@pytest.mark.parametrize(
    ("enabled", "keys", "risks"),
    [
        (True, "sixteen-bytes-ok", []),
        (True, "fifteen-bytes-x", ["API_KEYS: can be guessed; use 16 random characters or more"]),
        (False, "", ["API_KEY_ENABLED: accepts requests without a key; set it to true"]),
    ],
)
def test_missing_and_short_keys_are_a_risk(enabled: bool, keys: str, risks: list[str]) -> None:
    values = {"api_key_enabled": enabled, "api_keys": keys, "docs_enabled": False}
    assert list(APIKeySettings.model_validate(values).risks()) == risks
