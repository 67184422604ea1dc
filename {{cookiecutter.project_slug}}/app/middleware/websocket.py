"""Who may open a WebSocket, and how much may come through it."""

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

# A rate is an average over so many seconds: a network that stalls delivers all at once afterwards.
RATE_WINDOW = 10
# How long the application may take to accept or refuse a handshake, in seconds.
HANDSHAKE_TIMEOUT = 30
# How long a socket may take to read that it is closed, in seconds.
CLOSE_TIMEOUT = 5

_is_origin = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+").fullmatch


class WebSocketSettings(RedisSettings):
    """Who may open a WebSocket, and how much may come through it.

    `WEBSOCKET_ORIGINS` (none): the pages that may, such as `https://example.com`, or `*` for any.
    `WEBSOCKET_MAX_CONNECTIONS` (10000) of one process, and `WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT`
    (100) of one client address to it.
    `WEBSOCKET_MAX_MESSAGE_SIZE` (65536): the largest message of a client, in bytes.
    `WEBSOCKET_MESSAGE_RATE` (20): messages a second of one socket, on the average of ten seconds.
    `WEBSOCKET_QUEUE_SIZE` (100): messages that wait for a slow reader before it is closed.
    `WEBSOCKET_IDLE_TIMEOUT` (3600): seconds without a message either way; 0 = for ever.
    `WEBSOCKET_COMPRESSION` (false): compress messages, which costs memory and processor time.
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
            raise ValueError("an origin is a scheme and a host without a path: https://example.com")
        return origins

    def risks(self) -> Iterator[str]:
        if "*" in self.websocket_origins:
            yield "WEBSOCKET_ORIGINS: any page may connect as its visitor: name the origins"
        yield from super().risks()


class WebSocketMiddleware:
    """Refuse handshakes from foreign pages and beyond the limits; close sockets that send too much.

    `origins`: the pages that may connect, `*` for any; none: those of the host that is connected
    to. A browser lets any page open a WebSocket, with the cookies of its visitor, and leaves it to
    the server to look at `Origin`. What sends no `Origin` is no browser.
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
        if refusal := self.refuse(scope, client):
            await refusal(scope, receive, send)
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

    def refuse(self, scope: Scope, client: str) -> Response | None:
        if not self.is_allowed(scope):
            return error_response(403, "Origin not allowed")
        if self.connections >= self.max_connections:
            return error_response(503, "Too many connections", headers={"Retry-After": "5"})
        if self.clients[client] >= self.max_connections_per_client:
            return error_response(429, "Too many connections", headers={"Retry-After": "5"})
        return None

    def is_allowed(self, scope: Scope) -> bool:
        origins = {value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"}
        if not origins or "*" in self.origins:
            return True
        if self.origins:
            return origins <= self.origins
        # Not the scheme: behind a proxy that ends TLS it is another.
        hosts = {value.decode("latin-1") for name, value in scope["headers"] if name == b"host"}
        return {origin.partition("://")[2] for origin in origins} == hosts

    async def guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        active = due = clock()
        answered = closed = False

        async def close(code: int, reason: str) -> Message:
            nonlocal closed
            closed = True
            # What reads nothing does not read this either.
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await send({"type": "websocket.close", "code": code, "reason": reason})
            return {"type": "websocket.disconnect", "code": code, "reason": reason}

        async def receive_with_limits() -> Message:
            nonlocal active, due
            message: Message | None = None
            while message is None:
                # What is sent meanwhile puts the end off. Until the handshake is answered it is
                # the application that takes its time.
                idle_timeout = self.idle_timeout if answered else math.inf
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
            nonlocal active, answered
            if closed:
                raise OSError("closed by a limit")
            if not answered:
                answered = True
                handshake.deadline = math.inf
            try:
                await send(message)
            except RuntimeError as error:
                # Of uvicorn, which has closed the socket for a broken frame or a lost peer. Any
                # other misuse has met Starlette's WebSocket first.
                raise OSError("closed by the server") from error
            active = clock()

        try:
            with anyio.move_on_after(HANDSHAKE_TIMEOUT) as handshake:
                await self.app(scope, receive_with_limits, send_while_open)
        except Exception:
            # Of the servers some would answer in their own way, some not at all.
            if not answered:
                await error_response(500, "Internal server error")(scope, receive, send)
            raise
        if handshake.cancelled_caught:
            response = error_response(503, "Try again later", headers={"Retry-After": "5"})
            await response(scope, receive, send)


def layer(settings: WebSocketSettings, *, default_origins: Collection[str] = ()) -> Middleware:
    """Guard WebSockets. `default_origins` stand in for an empty `WEBSOCKET_ORIGINS`."""
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


def _is_about_us(record: logging.LogRecord) -> bool:
    # uvicorn says these of every handshake that is refused with an answer, and of every client
    # that sends garbage: as errors, with a traceback.
    return record.msg not in (
        "ASGI callable returned without completing handshake.",
        "Invalid UTF-8 sequence received from client.",
    )
