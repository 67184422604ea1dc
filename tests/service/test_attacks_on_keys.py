"""Hostile requests to a service that requires an API key. None reaches a protected route."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.raw import Headers, RawResponse, ask, handshake
from tests.support.service import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("keys")]

KEY = b"key-of-the-tests"
PRODUCTION = {"DEBUG": "false", "ALLOWED_HOSTS": "*", "API_KEYS": KEY.decode()}
REACHED = b"reached"

PATHS = [
    b"/items",
    b"/items/1",
    b"/Items",
    b"/docs-secret",
    b"/docs.json",
    b"/docsx",
    b"/DOCS",
    b"/Docs",
    b"//docs",
    b"//items",
    b"/./items",
    b"/items/",
    b"/items/.",
    b"/docs/../items",
    b"/docs/..%2fitems",
    b"/docs/%2e%2e/items",
    b"/docs%2f..%2fitems",
    b"/docs/..%252fitems",
    b"/docs/..;/items",
    b"/docs;/items",
    b"/docs//items",
    b"/docs/.%2e/items",
    b"/docs\\..\\items",
    b"/docs/..%5citems",
    b"/healthz/../items",
    b"/healthz/..%2fitems",
    b"/openapi.json/../items",
    b"/%2e/items",
    b"/%69tems",
    b"/items%00/docs",
    b"/items%3f/docs",
    b"/items%23/docs",
    b"/items?/docs",
    b"/items?path=/docs",
    b"/items;/docs",
    b"/?/items",
    b"/mounted/items",
    b"/mounted/docs",
    b"/mounted/docs/../items",
    b"http://localhost/items",
    b"http://localhost/docs/../items",
    b"http://localhost/docs@x/items",
    b"http://docs/items",
    b"/%ff%fe",
    b"/" + b"x" * 5000,
    b"/docs" + b"/x" * 3000 + b"/../items",
]
HOSTS = [b"/docs", b"localhost/docs?", b"localhost#", b"x@localhost", b"\xff", b"", None]
KEYS: list[Headers] = [
    [],
    [(b"X-API-Key", b"")],
    [(b"X-API-Key", b" ")],
    [(b"X-API-Key", KEY[:-1])],
    [(b"X-API-Key", KEY + b"x")],
    [(b"X-API-Key", KEY.upper())],
    [(b"X-API-Key", b'"' + KEY + b'"')],
    [(b"X-API-Key", KEY + b"," + KEY)],
    [(b"X-API-Key", KEY.replace(b"e", b"\xd0\xb5"))],
    [(b"X-API-Key", b"\xff\xfe")],
    [(b"X-API-Key", b"x" * 50_000)],
    [(b"X-API-Key", KEY), (b"X-API-Key", KEY)],
    [(b"X-API-Key", KEY), (b"X-API-Key", b"other")],
    [(b"X-API-Key", b"other"), (b"X-API-Key", KEY)],
    [(b"X_API_Key", KEY)],
    [(b"API-Key", KEY)],
    [(b"Authorization", b"APIKey " + KEY)],
    [(b"Cookie", b"X-API-Key=" + KEY)],
]
METHODS = [b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"get", b"X"]


@pytest.fixture(scope="module")
def service(install: Bake) -> Iterator[Service]:
    """Serve a service with routes at all paths that may be mistaken for public ones."""
    project: Path = install(use_api_key=True, use_gzip=False)
    with (project / "app" / "main.py").open("a", encoding="utf-8") as main:
        main.write(
            "\n\nfrom fastapi import FastAPI, Response, WebSocket\n\n"
            "ALL = ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'X']\n"
            "mounted = FastAPI()\n"
            "app.mount('/mounted', mounted)\n\n\n"
            "for each in (app, mounted):\n"
            "    @each.api_route('/items', methods=ALL)\n"
            "    @each.api_route('/{rest:path}', methods=ALL)\n"
            "    async def reach(rest: str = '') -> Response:\n"
            "        return Response('reached', headers={'X-Reached': 'reached'})\n\n"
            "    @each.websocket('/{rest:path}')\n"
            "    async def serve(websocket: WebSocket, rest: str = '') -> None:\n"
            "        await websocket.accept()\n"
        )
    with serving(project, **PRODUCTION) as service:
        yield service


def check(response: RawResponse) -> None:
    """Fail if the request reached a route."""
    assert REACHED not in response.head
    assert REACHED not in response.body
    assert response.status in (400, 401, 405, 414, 431), response.head


def test_there_are_many() -> None:
    assert len(PATHS) + len(HOSTS) + len(KEYS) + len(METHODS) >= 40


def test_a_valid_key_reaches_every_route(service: Service) -> None:
    for path in [b"/items", b"/docs-secret", b"/mounted/items", b"/x/y"]:
        assert ask(service, path, (b"X-API-Key", KEY)).body == REACHED
    assert ask(service, b"/items", *handshake((b"X-API-Key", KEY))).status == 101


def test_public_paths_are_public(service: Service) -> None:
    for path in [b"/", b"/docs", b"/redoc", b"/openapi.json", b"/healthz", b"/readyz"]:
        response = ask(service, path)
        assert response.status == 200
        assert REACHED not in response.body


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40].decode())
def test_no_path_bypasses_the_key(path: bytes, service: Service) -> None:
    if path == b"/?/items":  # is the public path /
        return
    check(ask(service, path))
    response = ask(service, path, *handshake())
    assert response.status in (400, 401), response.head


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_no_host_bypasses_the_key(host: bytes | None, service: Service) -> None:
    for path in [b"/items", b"/docs-secret"]:
        check(ask(service, path, host=host))


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_invalid_keys_are_rejected(number: int, service: Service) -> None:
    check(ask(service, b"/items", *KEYS[number]))
    if all(len(value) < 8000 for _, value in KEYS[number]):  # else uvicorn sends no response
        response = ask(service, b"/items", *handshake(*KEYS[number]))
        assert response.status in (400, 401), response.head


@pytest.mark.parametrize("method", METHODS, ids=bytes.decode)
def test_no_method_bypasses_the_key(method: bytes, service: Service) -> None:
    check(ask(service, b"/items", method=method))
