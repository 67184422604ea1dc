"""uvicorn's WebSocket protocol, which reads no faster than the application.

All of it builds on private API of uvicorn, whose version `pyproject.toml` bounds.
"""

from asyncio import AbstractEventLoop, TimerHandle
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from app.core.http_protocol import encode_error
from app.core.server_config import ServerConfig

# Bytes that are parsed at a time.
SLICE = 2048
# What an application never sees has a budget in seconds: so much may be spent at once, and comes
# back as time passes.
BUDGET = 10.0
CONTROL_COST = 0.1
FRAGMENT_COST = 0.0005
# Larger fragments are worth what they cost.
SMALL = 64
# Seconds that a closed socket has to read what was sent to it.
CLOSE_TIMEOUT = 10.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Parse what a client sends in slices, each after the application has taken the last one.

    So the limits of the application meet each message in time, and no flood holds up the event
    loop. Control frames and small fragments, which the application does not see, have limits here;
    so has what comes after a socket is closed.
    """

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.unparsed = bytearray()
        self.is_scheduled = False
        self.spent_until = 0.0
        self.timer: TimerHandle

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.client = self.client or ("unix", 0)
        self.check_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        self.unparsed.clear()
        super().connection_lost(exc)

    def check_closing(self) -> None:
        """Cut a client off that does not read that it is closed; look again later otherwise."""
        if self.transport.is_closing():
            self.transport.abort()
        self.timer = self.loop.call_later(CLOSE_TIMEOUT, self.check_closing)

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:
                # uvicorn would leave the client without a response.
                self.reject_handshake()
        elif not self.handshake_complete:
            # A client has to wait for the response. Source: RFC 6455, section 4.1
            self.transport.close()
        elif self.unparsed or self.is_scheduled or len(data) > SLICE:
            self.unparsed += data
            self.proceed()
        else:
            super().data_received(data)

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        self.proceed()
        return message

    def proceed(self) -> None:
        """Go on with what the client sends, once the application has taken its messages."""
        if self.is_scheduled or not (self.queue.empty() or self.close_sent):
            return
        if self.unparsed:
            self.is_scheduled = True
            self.loop.call_soon(self.parse_slice)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
        elif self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def parse_slice(self) -> None:
        """Parse the next bytes."""
        self.is_scheduled = False
        if self.transport.is_closing():
            return
        data = bytes(self.unparsed[:SLICE])
        del self.unparsed[:SLICE]
        super().data_received(data)
        self.proceed()

    def handle_ping(self) -> None:
        self.spend(CONTROL_COST)
        if self.writable.is_set():
            super().handle_ping()
        else:
            # The client does not read, so a pong would only wait in memory. Source: RFC 6455, 5.5.3
            self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        self.spend(CONTROL_COST)
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if len(event.data) < SMALL:
            self.spend(FRAGMENT_COST)
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.close_sent:
            self.spend(CONTROL_COST)
        super().send_receive_event_to_app()

    def spend(self, cost: float) -> None:
        """Close the socket when its budget is spent."""
        now = self.loop.time()
        self.spent_until = max(self.spent_until, now) + cost
        if self.spent_until - now > BUDGET and not self.transport.is_closing():
            self.conn.fail(CloseCode.POLICY_VIOLATION, "Too many frames")
            self.handle_parser_exception()

    def reject_handshake(self) -> None:
        """Respond to a handshake that cannot be parsed."""
        message = "The WebSocket handshake is not valid"
        self.transport.write(encode_error(400, message, self.default_headers))
        self.transport.close()
