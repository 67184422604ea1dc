import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.config import Settings
from app.core.settings import describe
from app.middleware import websocket as module
from app.middleware.websocket import WebSocketMiddleware, WebSocketSettings, layer

MakeGuarded = Callable[..., TestClient]


async def greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await websocket.send({**message, "type": "websocket.send"})


def guarded(app: ASGIApp, **options: Any) -> WebSocketMiddleware:
    defaults: dict[str, Any] = {
        "origins": [],
        "max_connections": 100,
        "max_connections_per_client": 100,
        "max_message_size": 100,
        "message_rate": 100,
        "idle_timeout": 0,
    }
    return WebSocketMiddleware(app, **(defaults | options))


@pytest.fixture
def make_guarded() -> Iterator[MakeGuarded]:
    """A client of an echo behind a guard with these options. All its sockets share one loop."""
    with ExitStack() as stack:

        def make(*, client: tuple[str, int] = ("192.0.2.1", 50000), **options: Any) -> TestClient:
            routes = [WebSocketRoute("/ws", echo), Route("/", greet)]
            app = guarded(Starlette(routes=routes), **options)
            return stack.enter_context(TestClient(app, client=client))

        yield make


def connect(
    client: TestClient, **headers: str
) -> AbstractContextManager[WebSocketTestSession, bool | None]:
    return client.websocket_connect("/ws", headers=headers)


def refusal(client: TestClient, **headers: str) -> WebSocketDenialResponse:
    with pytest.raises(WebSocketDenialResponse) as caught, connect(client, **headers):
        pass
    return caught.value


# Who may connect


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://testserver.evil.example", "testserver"]
)
def test_pages_of_other_hosts_are_rejected(make_guarded: MakeGuarded, origin: str) -> None:
    response = refusal(make_guarded(), origin=origin)
    assert response.status_code == 403
    error = {"code": 403, "message": "Origin not allowed", "type": "forbidden"}
    assert response.json() == {"success": False, "error": error}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_pages_of_the_same_host_may_connect(make_guarded: MakeGuarded, scheme: str) -> None:
    # A proxy that ends TLS has another scheme towards us.
    with connect(make_guarded(), origin=f"{scheme}://testserver"):
        pass


@pytest.mark.parametrize(
    ("host", "origin", "is_own"),
    [
        ("api.example.com", "https://api.example.com", True),
        ("api.example.com:443", "https://api.example.com", True),
        ("api.example.com:80", "http://api.example.com", True),
        ("api.example.com:8443", "https://api.example.com:8443", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("api.example.com:80", "https://api.example.com", False),
        ("api.example.com", "https://api.example.com:8443", False),
        ("api.example.com:8443", "https://api.example.com", False),
        ("api.example.com", "https://evil.example", False),
        ("", "null", False),
        ("", "", False),
    ],
)
@pytest.mark.parametrize("origins", [[], ["https://app.example.com"]])
def test_pages_of_the_service_itself_may_always_connect(
    make_guarded: MakeGuarded, origins: list[str], host: str, origin: str, is_own: bool
) -> None:
    client = make_guarded(origins=origins)
    if is_own:
        with connect(client, origin=origin, host=host):
            pass
    else:
        assert refusal(client, origin=origin, host=host).status_code == 403


def test_a_second_host_is_not_the_service() -> None:
    guard = guarded(Starlette(), origins=[])
    headers = [(b"origin", b"https://evil.example"), (b"host", b"evil.example")]
    assert guard.is_allowed({"headers": headers})
    assert not guard.is_allowed({"headers": [*headers, (b"host", b"api.example.com")]})
    assert not guard.is_allowed({"headers": headers[:1]})


def test_what_sends_no_origin_is_no_browser(make_guarded: MakeGuarded) -> None:
    with connect(make_guarded(origins=["https://app.example.com"])):
        pass


def test_only_pages_of_the_list_may_connect(make_guarded: MakeGuarded) -> None:
    client = make_guarded(origins=["https://app.example.com", "http://localhost:3000"])
    for origin in ("https://app.example.com", "http://localhost:3000"):
        with connect(client, origin=origin):
            pass
    for origin in (
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://app.example.com/",
        "https://APP.example.com",
        "https://app.example.com, https://evil.example",
    ):
        assert refusal(client, origin=origin).status_code == 403


def test_any_page_may_connect_where_the_list_says_so(make_guarded: MakeGuarded) -> None:
    with connect(make_guarded(origins=["*"]), origin="https://other.example"):
        pass


@pytest.mark.anyio
async def test_a_second_origin_does_not_hide_the_first() -> None:
    guard = guarded(Starlette(), origins=["https://app.example.com"])
    headers = [(b"origin", b"https://app.example.com"), (b"origin", b"https://evil.example")]
    assert not guard.is_allowed({"headers": headers})
    assert guard.is_allowed({"headers": headers[:1]})


def test_requests_pass(make_guarded: MakeGuarded) -> None:
    response = make_guarded().get("/", headers={"Origin": "https://evil.example"})
    assert response.text == "ok"


# How many may connect


def test_a_process_takes_so_many(make_guarded: MakeGuarded) -> None:
    client = make_guarded(max_connections=2)
    with connect(client), connect(client):
        response = refusal(client)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert response.json()["error"]["type"] == "service_unavailable"
    with connect(client):
        pass


def test_a_client_gets_so_many(make_guarded: MakeGuarded) -> None:
    client = make_guarded(max_connections_per_client=1)
    other = TestClient(client.app, client=("2001:db8::1", 50000))
    neighbor = TestClient(client.app, client=("2001:db8::2", 50000))
    with connect(client), connect(other):
        for refused in (client, other, neighbor):
            response = refusal(refused)
            assert response.status_code == 429
            assert response.headers["Retry-After"] == "5"
    with connect(neighbor):
        pass


def test_nothing_is_remembered_of_a_client_that_left(make_guarded: MakeGuarded) -> None:
    client = make_guarded()
    guard = client.app
    assert isinstance(guard, WebSocketMiddleware)
    with connect(client), connect(client):
        assert (guard.connections, dict(guard.clients)) == (2, {"192.0.2.1": 2})
    refusal(client, origin="null")
    assert (guard.connections, dict(guard.clients)) == (0, {})


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_nothing_is_remembered_of_a_socket_that_failed(error: type[BaseException]) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    guard = guarded(fail)
    with pytest.raises(error):
        await guard({"type": "websocket", "headers": []}, Peer().receive, Peer().send)
    assert (guard.connections, dict(guard.clients)) == (0, {})


# How much may come


def closed_with(session: WebSocketTestSession) -> tuple[int, str]:
    message = session.receive()
    assert message["type"] == "websocket.close"
    return message["code"], message["reason"]


@pytest.mark.parametrize(
    "message", [{"text": "x" * 101}, {"bytes": b"x" * 101}, {"text": "\N{EURO SIGN}" * 34}]
)
def test_large_messages_close_the_socket(
    make_guarded: MakeGuarded, message: dict[str, Any]
) -> None:
    with connect(make_guarded()) as session:
        session.send({"type": "websocket.receive", **message})
        assert closed_with(session) == (1009, "The message is too large")


@pytest.mark.parametrize(
    "message", [{"text": "x" * 100}, {"bytes": b"x" * 100}, {"bytes": b"", "text": None}]
)
def test_other_messages_pass(make_guarded: MakeGuarded, message: dict[str, Any]) -> None:
    with connect(make_guarded()) as session:
        session.send({"type": "websocket.receive", **message})
        assert session.receive() == {"type": "websocket.send", **message}


def test_a_flood_closes_the_socket(make_guarded: MakeGuarded) -> None:
    with connect(make_guarded(message_rate=2)) as session:
        for number in range(20):
            session.send_text(str(number))
            assert session.receive_text() == str(number)
        session.send_text("one more")
        assert closed_with(session) == (1008, "Too many messages")


@pytest.mark.anyio
async def test_a_rate_is_an_average(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    peer = Peer()
    accepted = 0

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal accepted, now
        while (await receive())["type"] == "websocket.receive":
            accepted += 1
            now += 0.5 if accepted <= 100 else 0.25

    for _ in range(200):
        peer.incoming.put_nowait({"type": "websocket.receive", "text": ""})
    await guarded(count, message_rate=2)({"type": "websocket", "headers": []}, *peer.ends)
    # A hundred at the rate, then twice as many as that: after ten seconds more it is too much.
    assert accepted == 100 + 39
    assert peer.sent[-1]["code"] == 1008


# Its life


class Peer:
    """The server's side of a socket: what the application receives, and what it sent."""

    def __init__(self, error: Exception | None = None) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.error = error

    @property
    def ends(self) -> tuple[Receive, Send]:
        return self.receive, self.send

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send(self, message: Message) -> None:
        if self.error:
            raise self.error
        self.sent.append(message)


SCOPE: Scope = {"type": "websocket", "headers": []}


def test_silence_closes_the_socket(make_guarded: MakeGuarded) -> None:
    with connect(make_guarded(idle_timeout=1)) as session:
        assert closed_with(session) == (1000, "Idle for too long")


@pytest.mark.anyio
async def test_what_is_sent_puts_the_end_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now, peer = 0.0, Peer()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    async def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds
        for _ in range(10):
            await asyncio.sleep(0)

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        received = asyncio.ensure_future(receive())
        for _ in range(5):
            await pass_time(59)
            await send({"type": "websocket.send", "text": ""})
        await pass_time(59)
        assert not received.done()
        await pass_time(1)
        assert received.done()
        assert (await received)["code"] == 1000

    await guarded(talk, idle_timeout=60)(SCOPE, *peer.ends)
    assert peer.sent[-1]["code"] == 1000


@pytest.mark.anyio
async def test_a_slow_handshake_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now, peer = 0.0, Peer()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    async def accept_late(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal now
        now += 10
        assert (await receive())["type"] == "websocket.connect"
        now += 10
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.receive"
        now += 1
        assert (await receive())["type"] == "websocket.disconnect"

    peer.incoming.put_nowait({"type": "websocket.connect"})
    peer.incoming.put_nowait({"type": "websocket.receive", "text": ""})
    await guarded(accept_late, idle_timeout=1)(SCOPE, *peer.ends)
    assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.anyio
async def test_a_handshake_does_not_hang_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.01)

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    guard, peer = guarded(hang), Peer()
    async with asyncio.timeout(10):
        await guard(SCOPE, *peer.ends)
    assert [message.get("status") for message in peer.sent] == [503, None]
    assert guard.connections == 0


@pytest.mark.anyio
async def test_what_follows_the_handshake_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.01)
    peer = Peer()

    async def take_time(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.05)
        await send({"type": "websocket.send", "text": "done"})

    await guarded(take_time)(SCOPE, *peer.ends)
    assert peer.sent[-1] == {"type": "websocket.send", "text": "done"}


@pytest.mark.anyio
@pytest.mark.parametrize("is_accepted", [False, True])
async def test_an_error_before_the_handshake_is_answered(is_accepted: bool) -> None:
    peer = Peer()

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if is_accepted:
            await send({"type": "websocket.accept"})
        raise ValueError("a secret")

    with pytest.raises(ValueError):
        await guarded(fail)(SCOPE, *peer.ends)
    if is_accepted:
        assert [message["type"] for message in peer.sent] == ["websocket.accept"]
    else:
        start, body = peer.sent
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 500)
        error = {"code": 500, "message": "Internal server error", "type": "server_error"}
        assert json.loads(body["body"])["error"] == error


@pytest.mark.anyio
async def test_who_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    peer = Peer()

    async def stuck(message: Message) -> None:
        await asyncio.Event().wait()

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.disconnect"

    peer.incoming.put_nowait({"type": "websocket.receive", "text": "x" * 101})
    async with asyncio.timeout(10):
        await guarded(read)(SCOPE, peer.receive, stuck)


@pytest.mark.anyio
async def test_nothing_is_sent_after_a_limit_closed_the_socket() -> None:
    peer = Peer()

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(OSError, match="closed by a limit"):
            await send({"type": "websocket.send", "text": ""})

    peer.incoming.put_nowait({"type": "websocket.receive", "text": "x" * 101})
    await guarded(talk)(SCOPE, *peer.ends)
    assert [message["type"] for message in peer.sent] == ["websocket.close"]


@pytest.mark.anyio
async def test_a_server_that_closed_by_itself_is_a_lost_peer() -> None:
    # uvicorn raises a RuntimeError then, which would be logged as a fault of the application.
    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "text": ""})

    with pytest.raises(OSError, match="closed by the server"):
        await guarded(talk)(SCOPE, *Peer(RuntimeError("after sending 'websocket.close'")).ends)


# Its settings


def test_the_layer_has_the_settings(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(
        websocket_origins="https://a.example,*",
        websocket_max_connections=1,
        websocket_max_connections_per_client=2,
        websocket_max_message_size=3,
        websocket_message_rate=4,
        websocket_idle_timeout=5,
    )
    assert layer(settings, default_origins=["https://b.example"]).kwargs == {
        "origins": ["https://a.example", "*"],
        "max_connections": 1,
        "max_connections_per_client": 2,
        "max_message_size": 3,
        "message_rate": 4,
        "idle_timeout": 5,
    }


def test_other_origins_stand_in_for_none(make_settings: Callable[..., Settings]) -> None:
    origins = ["https://b.example"]
    assert layer(make_settings(), default_origins=origins).kwargs["origins"] == origins
    assert layer(make_settings()).kwargs["origins"] == ()


@pytest.mark.parametrize("origin", ["example.com", "https://example.com/", "https://", "a b"])
def test_an_origin_has_a_scheme_and_no_path(
    make_settings: Callable[..., Settings], origin: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(websocket_origins=[origin])
    (line,) = describe(caught.value)
    assert line.startswith("WEBSOCKET_ORIGINS: must be origins without a path")


def test_what_clients_do_wrong_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    layer(Settings.model_construct())
    logger = logging.getLogger("uvicorn.error")
    logger.error("ASGI callable returned without completing handshake.")
    logger.error("Invalid UTF-8 sequence received from client.")
    logger.error("Exception in ASGI application\n")
    assert caplog.messages == ["Exception in ASGI application\n"]


def test_the_service_is_guarded(make_client: Callable[..., TestClient]) -> None:
    client = make_client(websocket_origins=["https://app.example.com"])
    with connect(client, origin="https://app.example.com") as session:
        session.send_text("hello")
        assert session.receive_text() == "Message received: hello"
    assert refusal(client, origin="https://other.example").status_code == 403


@pytest.mark.parametrize(
    ("origins", "risks"),
    [
        (["https://app.example.com"], []),
        (
            ["*"],
            ["WEBSOCKET_ORIGINS: accepts any page; list the origins instead of *"],
        ),
    ],
)
def test_any_page_is_a_risk(origins: list[str], risks: list[str]) -> None:
    settings = WebSocketSettings(websocket_origins=origins, docs_enabled=False)
    assert list(settings.risks()) == risks
