"""Check the origin of WebSockets, and limit their number and messages."""

import asyncio
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator

import anyio
from pydantic import Field, field_validator
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_address import client_network
from app.core.errors import error_response
from app.core.redis import RedisSettings
from app.core.settings import StringList

# Seconds over which a rate is averaged. A network that stalls delivers everything at once later.
RATE_WINDOW = 10
# Seconds that the application may take to accept or reject a handshake.
HANDSHAKE_TIMEOUT = 30
# Seconds that a client may take to read the close frame.
CLOSE_TIMEOUT = 5

_is_origin = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+").fullmatch


class WebSocketSettings(RedisSettings):
    """Which pages may open WebSockets, and how much each socket may send.

    `WEBSOCKET_ORIGINS` (none): the origins of other pages that may connect, such as
    `https://example.com`, or `*` for any. Pages of this service always may.
    `WEBSOCKET_MAX_CONNECTIONS` (10000): the most sockets of one process.
    `WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT` (100): the most sockets of one client address per process.
    `WEBSOCKET_MAX_MESSAGE_SIZE` (65536): the largest message from a client, in bytes.
    `WEBSOCKET_MESSAGE_RATE` (20): messages per second of one socket, averaged over ten seconds.
    `WEBSOCKET_QUEUE_SIZE` (100): how many messages wait for a slow client before it is closed.
    `WEBSOCKET_IDLE_TIMEOUT` (3600): seconds without a message in either direction before a socket
    is closed; 0 is never.
    `WEBSOCKET_COMPRESSION` (false): compress messages, which costs memory and processor time. Only
    `python -m app.serve` reads this.
    """

    websocket_origins: StringList = []
    websocket_max_connections: int = Field(default=10_000, ge=1)
    websocket_max_connections_per_client: int = Field(default=100, ge=1)
    websocket_max_message_size: int = Field(default=65_536, ge=1)
    websocket_message_rate: float = Field(default=20, gt=0)
    websocket_queue_size: int = Field(default=100, ge=1)
    websocket_idle_timeout: float = Field(default=3600, ge=0)
    websocket_compression: bool = False

    @field_validator("websocket_origins")
    @classmethod
    def _check_websocket_origins(cls, origins: list[str]) -> list[str]:
        if not all(_is_origin(origin) for origin in origins):
            raise ValueError("must be origins without a path, such as https://example.com")
        return origins

    def risks(self) -> Iterator[str]:
        if "*" in self.websocket_origins:
            yield "WEBSOCKET_ORIGINS: accepts any page; list the origins instead of *"
        yield from super().risks()


class WebSocketMiddleware:
    """Rejects handshakes of other origins and beyond the limits; closes sockets that send too much.

    `origins`: the origins that may connect besides the service's own, or `*` for any. A browser
    lets any page open a WebSocket with the cookies of its visitor, and leaves it to the server to
    check `Origin`. A client that sends no `Origin` is not a browser.
    Source: RFC 6455, sections 7.4.1 and 10.2; https://asgi.readthedocs.io/en/latest/specs/www.html
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Collection[str],
        max_connections: int,
        max_connections_per_client: int,
        max_message_size: int,
        message_rate: float,
        idle_timeout: float,
    ) -> None:
        self.app = app
        self.origins = frozenset(origins)
        self.max_connections = max_connections
        self.max_connections_per_client = max_connections_per_client
        self.max_message_size = max_message_size
        self.interval = 1 / message_rate
        self.idle_timeout = idle_timeout or math.inf
        self.connections = 0
        self.clients: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return

        client = client_network(scope)
        if rejection := self.reject(scope, client):
            await rejection(scope, receive, send)
            return
        self.connections += 1
        self.clients[client] += 1
        try:
            await self.guard(scope, receive, send)
        finally:
            self.connections -= 1
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]

    def reject(self, scope: Scope, client: str) -> Response | None:
        if not self.is_allowed(scope):
            return error_response(403, "Origin not allowed")
        if self.connections >= self.max_connections:
            return error_response(503, "Too many connections", headers={"Retry-After": "5"})
        if self.clients[client] >= self.max_connections_per_client:
            return error_response(429, "Too many connections", headers={"Retry-After": "5"})
        return None

    def is_allowed(self, scope: Scope) -> bool:
        origins = _values(scope, b"origin")
        if "*" in self.origins or origins <= self.origins:
            return True
        hosts = _values(scope, b"host")
        return all(_is_own(origin, hosts) for origin in origins - self.origins)

    async def guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        active = due = clock()
        is_handshake_over = is_closed = False

        async def close(code: int, reason: str) -> Message:
            nonlocal is_closed
            is_closed = True
            # A client that reads nothing does not read this either.
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await send({"type": "websocket.close", "code": code, "reason": reason})
            return {"type": "websocket.disconnect", "code": code, "reason": reason}

        async def receive_with_limits() -> Message:
            nonlocal active, due
            message: Message | None = None
            while message is None:
                # A message that is sent meanwhile extends the time. Until the handshake is over, the
                # socket waits for the application, not for the client.
                idle_timeout = self.idle_timeout if is_handshake_over else math.inf
                with anyio.move_on_after(active + idle_timeout - clock()):
                    message = await receive()
                if message is None and clock() >= active + idle_timeout:
                    return await close(1000, "Idle for too long")
            if message["type"] == "websocket.receive":
                active = clock()
                due = max(due, active) + self.interval
                data = message.get("bytes")
                if len(message["text"].encode() if data is None else data) > self.max_message_size:
                    return await close(1009, "The message is too large")
                if due - active > RATE_WINDOW:
                    return await close(1008, "Too many messages")
            return message

        async def send_while_open(message: Message) -> None:
            nonlocal active, is_handshake_over
            if is_closed:
                raise OSError("closed by a limit")
            if not is_handshake_over:
                is_handshake_over = True
                handshake.deadline = math.inf
            try:
                await send(message)
            except RuntimeError as error:
                # uvicorn has closed the socket because of a broken frame or a lost connection. Any
                # other misuse raises in Starlette's WebSocket first.
                raise OSError("closed by the server") from error
            active = clock()

        try:
            with anyio.move_on_after(HANDSHAKE_TIMEOUT) as handshake:
                await self.app(scope, receive_with_limits, send_while_open)
        except Exception:
            # Servers would respond in a format of their own, or not at all.
            if not is_handshake_over:
                await error_response(500, "Internal server error")(scope, receive, send)
            raise
        if handshake.cancelled_caught:
            response = error_response(503, "Try again later", headers={"Retry-After": "5"})
            await response(scope, receive, send)


def layer(settings: WebSocketSettings, *, default_origins: Collection[str] = ()) -> Middleware:
    """Protect WebSockets. `default_origins` are used if `WEBSOCKET_ORIGINS` is empty."""
    logging.getLogger("uvicorn.error").addFilter(_is_about_us)
    return Middleware(
        WebSocketMiddleware,
        origins=settings.websocket_origins or default_origins,
        max_connections=settings.websocket_max_connections,
        max_connections_per_client=settings.websocket_max_connections_per_client,
        max_message_size=settings.websocket_max_message_size,
        message_rate=settings.websocket_message_rate,
        idle_timeout=settings.websocket_idle_timeout,
    )


def _values(scope: Scope, name: bytes) -> set[str]:
    return {value.decode("latin-1") for key, value in scope["headers"] if key == name}


def _is_own(origin: str, hosts: set[str]) -> bool:
    # The scheme is not compared, because it differs behind a proxy that ends TLS.
    scheme, _, host = origin.partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return bool(host) and hosts in ({host}, {host + port})


def _is_about_us(record: logging.LogRecord) -> bool:
    # uvicorn logs these as errors with a traceback, for every handshake that is rejected with a
    # response and for every client that sends invalid data.
    return record.msg not in (
        "ASGI callable returned without completing handshake.",
        "Invalid UTF-8 sequence received from client.",
    )
