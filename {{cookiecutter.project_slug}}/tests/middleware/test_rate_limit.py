from collections.abc import Callable
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from app.config import Settings
from app.core.settings import describe
from app.limits.limit import Limit, Limiter
from app.limits.memory_limiter import MemoryLimiter
from app.limits.redis_limiter import RedisLimiter
from app.middleware.rate_limit import RESPONSE_HEADERS, RateLimitMiddleware, layer

ERROR = {"code": 429, "message": "Too many requests", "type": "too_many_requests"}

MakeLimited = Callable[..., TestClient]


async def respond(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


class CountingLimiter(MemoryLimiter):
    """A limiter that records the keys of the hits."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    async def hit(self, key: str, limit: Limit) -> Any:
        self.keys.append(key)
        return await super().hit(key, limit)


def make_limited(
    limiter: Limiter | None = None,
    *,
    limit: str = "2/minute",
    paths: dict[str, str] | None = None,
    is_required: bool = False,
    client: tuple[str, int] = ("192.0.2.1", 50000),
) -> TestClient:
    routes = [Route("/{path:path}", respond), WebSocketRoute("/ws", greet)]
    app = RateLimitMiddleware(
        Starlette(routes=[Mount("/mounted", routes=routes), *routes]),
        limit=Limit.parse(limit),
        path_limits={path: Limit.parse(text) for path, text in (paths or {}).items()},
        exempt_paths=["/healthz"],
        limiter=limiter or MemoryLimiter(),
        is_required=is_required,
    )
    return TestClient(app, client=client)


def test_requests_beyond_the_limit_are_rejected(make_client: Callable[..., TestClient]) -> None:
    client = make_client(rate_limit="2/minute")
    limits = []
    for _ in range(2):
        response = client.get("/")
        assert response.status_code == 200
        limits.append([response.headers[name] for name in RESPONSE_HEADERS])
        assert "Retry-After" not in response.headers
    assert limits == [["2", "1", "60"], ["2", "0", "60"]]

    response = client.get("/")
    assert response.status_code == 429
    assert response.json() == {"success": False, "error": ERROR}
    # The clock may have passed a full second since the first request.
    assert response.headers["Retry-After"] in ("60", "61")
    assert response.headers["RateLimit-Reset"] == response.headers["Retry-After"]
    assert response.headers["RateLimit-Limit"] == "2"
    assert response.headers["RateLimit-Remaining"] == "0"


def test_errors_count_and_have_the_headers(make_client: Callable[..., TestClient]) -> None:
    client = make_client(rate_limit="1/minute")
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert response.headers["RateLimit-Remaining"] == "0"
    assert client.get("/nowhere").status_code == 429


@pytest.mark.usefixtures("ready")
def test_health_checks_are_not_limited(make_client: Callable[..., TestClient]) -> None:
    client = make_client(rate_limit="1/minute")
    for path in ("/healthz", "/readyz") * 3:
        response = client.get(path)
        assert response.status_code == 200
        assert "RateLimit-Limit" not in response.headers
    assert client.get("/").status_code == 200


def test_a_path_can_have_its_own_limit(make_client: Callable[..., TestClient]) -> None:
    client = make_client(rate_limit="5/minute", rate_limit_paths="/slow=1/minute,/fast=2/second")
    assert [client.get("/slow").status_code for _ in range(2)] == [404, 429]
    response = client.get("/fast/7")
    assert [response.headers[name] for name in RESPONSE_HEADERS] == ["2", "1", "1"]
    assert client.get("/").headers["RateLimit-Remaining"] == "4"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/token", "/token"),
        ("/token/", "/token"),
        ("/token/refresh", "/token/refresh"),
        ("/token/refresh/now", "/token/refresh"),
        ("/token/other", "/token"),
        ("/%74oken", "/token"),
        ("/token?x=/other", "/token"),
        ("/tokens", ""),
        ("/other/token", ""),
        ("/", "/"),
        ("/other", ""),
        ("/slashed", "/slashed"),
        ("/slashed/below", "/slashed"),
        ("/mounted/token", ""),
    ],
)
def test_a_rule_matches_whole_segments(path: str, rule: str) -> None:
    limiter = CountingLimiter()
    paths = dict.fromkeys(["/token", "/token/refresh", "/", "/slashed/"], "9/minute")
    make_limited(limiter, paths=paths).get(path)
    assert limiter.keys == [f"{rule}:192.0.2.1"]


def test_a_rule_matches_the_path_without_the_root_path() -> None:
    limiter = CountingLimiter()
    client = make_limited(limiter, paths={"/token": "9/minute"})
    TestClient(client.app, root_path="/behind", client=("192.0.2.1", 1)).get("/behind/token")
    assert limiter.keys == ["/token:192.0.2.1"]


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:DB8:1:2::ffff", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
        ("not:an:address", "not:an:address"),
        ("x" * 1000, "x" * 64),
        (":" * 1000, ":" * 64),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(host: str, key: str) -> None:
    limiter = CountingLimiter()
    make_limited(limiter, client=(host, 1)).get("/")
    assert limiter.keys == [f":{key}"]


@pytest.mark.anyio
@pytest.mark.parametrize("client", [{"client": None}, {}])
async def test_clients_without_an_address_share_a_limit(client: dict[str, None]) -> None:
    limiter = CountingLimiter()
    sent: list[Message] = []

    async def receive() -> Message:
        raise NotImplementedError

    async def send(message: Message) -> None:
        sent.append(message)

    app = make_limited(limiter, limit="1/minute").app
    for _ in range(2):
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], **client}
        await app(scope, receive, send)
    assert limiter.keys == [":", ":"]
    assert [message.get("status") for message in sent] == [200, None, 429, None]


def test_a_forged_header_does_not_evade_the_limit() -> None:
    client = make_limited()
    forged = [
        client.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": "for=x"})
        for number in range(5)
    ]
    assert [response.status_code for response in forged] == [200, 200, 429, 429, 429]


def test_clients_do_not_share_a_limit() -> None:
    limiter = MemoryLimiter()
    for number in range(5):
        client = make_limited(limiter, limit="1/minute", client=(f"192.0.2.{number}", 1))
        assert [client.get("/").status_code for _ in range(2)] == [200, 429]


def test_a_websocket_handshake_counts() -> None:
    client = make_limited()
    for _ in range(2):
        with client.websocket_connect("/ws") as websocket:
            assert (b"ratelimit-limit", b"2") in (websocket.extra_headers or ())
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/ws"):
        pass
    assert caught.value.status_code == 429
    assert caught.value.json() == {"success": False, "error": ERROR}
    assert caught.value.headers["RateLimit-Remaining"] == "0"
    assert client.get("/").status_code == 429


def test_requests_are_allowed_while_redis_is_unavailable() -> None:
    server = FakeServer()
    server.connected = False
    client = make_limited(RedisLimiter(FakeAsyncRedis(server=server)), limit="1/minute")
    for _ in range(3):
        response = client.get("/")
        assert response.status_code == 200
        assert "RateLimit-Limit" not in response.headers


def test_requests_are_rejected_while_redis_is_unavailable_if_so_configured() -> None:
    server = FakeServer()
    server.connected = False
    limiter = RedisLimiter(FakeAsyncRedis(server=server))
    client = make_limited(limiter, is_required=True)
    response = client.get("/")
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "service_unavailable"
    assert response.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == 200
    server.connected = True
    limiter.retry_at = 0
    assert client.get("/").status_code == 200


def test_the_layer_has_the_settings(make_settings: Callable[..., Settings]) -> None:
    settings, limiter = make_settings(rate_limit_on_store_error="refuse"), MemoryLimiter()
    options = layer(settings, limiter).kwargs
    assert options["limiter"] is limiter
    assert options["is_required"] is True


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("rate_limit", "lots", "100/minute"),
        ("rate_limit_paths", "/token", "/token=5/minute"),
        ("rate_limit_paths", "token=5/minute", "/token=5/minute"),
        ("rate_limit_paths", "/token=5", "100/minute"),
        ("rate_limit_on_store_error", "panic", "'allow' or 'refuse'"),
    ],
)
def test_an_error_in_a_setting_says_what_to_do(
    make_settings: Callable[..., Settings], name: str, value: str, remedy: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(**{name: value})
    (line,) = describe(caught.value)
    assert line.startswith(f"{name.upper()}: ")
    assert remedy in line
