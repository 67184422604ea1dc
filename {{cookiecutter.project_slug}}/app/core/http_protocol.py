"""uvicorn's HTTP protocol, with limits for clients that withhold what they owe.

All of it builds on private API of uvicorn, whose version `pyproject.toml` bounds.
"""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.core.errors import error_response
from app.core.server_config import ServerConfig

# Bytes that a client may send without progress: a request line with its headers, a chunk extension,
# trailers. The limit of h11, too.
MAX_UNPARSED = 65_536
# A read of the event loop holds up to 256 KiB, which is too much to count only afterwards.
SLICE = 16_384
# Complete requests that may wait for the response to an earlier one on the same connection.
MAX_PIPELINED = 100


def encode_error(status: int, message: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of an error response, for what is rejected before the application runs."""
    response = error_response(status, message, headers={"Connection": "close"})
    lines = [name + b": " + value + b"\r\n" for name, value in (*headers, *response.raw_headers)]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(response.body)])


class HTTPProtocol(HttpToolsProtocol):
    """Close connections without progress.

    Progress is a complete head, a part of a body, or a complete response. A client that sends
    more than `MAX_UNPARSED` bytes without it gets a 431, and one that lets `config.request_timeout`
    seconds pass a 408. Neither counts while the application is what the connection waits for. A
    client that reads nothing of a response for so long is cut off.
    """

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.timeout = config.request_timeout
        self.unparsed = 0
        self.unsent = 0
        self.progressed = self.drained = self.loop.time()
        self.timer: TimerHandle
        self.is_upgraded = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A Unix socket has no client address. This name can be trusted in `FORWARDED_ALLOW_IPS`.
        self.client = self.client or ("unix", 0)
        self.check_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) > SLICE:
            for start in range(0, len(data), SLICE):
                if not self.is_upgraded and not self.transport.is_closing():
                    self.data_received(data[start : start + SLICE])
            return
        self.unparsed += len(data)
        super().data_received(data)
        if self.unparsed > MAX_UNPARSED and not self.transport.is_closing():
            self.reject(431, "The request headers are too large")

    def on_headers_complete(self) -> None:
        self.mark_progress()
        super().on_headers_complete()
        # Trailers arrive through `on_header`, too, and must not become headers of the request.
        self.headers = self.headers.copy()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        self.mark_progress()
        super().on_body(body)

    def on_response_complete(self) -> None:
        self.mark_progress()
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        self.is_upgraded = True
        self.timer.cancel()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self.reject(400, msg.removesuffix("."))

    def reject(self, status: int, message: str) -> None:
        """Respond with an error unless a response has begun, and close the connection."""
        cycle = self.cycle
        if not self.pipeline and (
            cycle is None or cycle.response_complete or not cycle.response_started
        ):
            self.transport.write(encode_error(status, message, self.server_state.default_headers))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def mark_progress(self) -> None:
        """Start to count anew."""
        self.unparsed = 0
        self.progressed = self.loop.time()

    def check_progress(self) -> None:
        """Close the connection if the client is late; look again soon otherwise."""
        now = self.loop.time()
        self.timer = self.loop.call_later(self.timeout / 4, self.check_progress)
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self.unsent:
            self.unsent, self.drained = unsent, now
        if not self.is_waiting():
            self.progressed = now
        if now - self.drained >= self.timeout:
            self.transport.abort()
        elif now - self.progressed >= self.timeout and not self.transport.is_closing():
            if self.unparsed or self.cycle and not self.cycle.response_complete:
                self.reject(408, "The request did not arrive in time")
            else:
                self.transport.close()

    def is_waiting(self) -> bool:
        """Whether the next step is the client's."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        return not (
            self.flow.read_paused
            or not cycle.more_body
            or cycle.body
            or cycle.response_started
            or cycle.waiting_for_100_continue
        )
