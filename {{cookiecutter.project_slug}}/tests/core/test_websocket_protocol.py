import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from starlette.types import Receive, Scope, Send

from app.core import websocket_protocol
from app.core.websocket_protocol import (
    BUDGET,
    CONTROL_COST,
    FRAGMENT_COST,
    SMALL,
    WebSocketProtocol,
)
from tests.fixtures.server import Connect, read_all, wait_until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
TOO_MANY = b"\x88\x11" + (1008).to_bytes(2) + b"Too many frames"
AT_ONCE = round(BUDGET / CONTROL_COST)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame of a client, masked with zeros. Source: RFC 6455, section 5.2"""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
    return bytes([fin << 7 | opcode]) + length + bytes(4) + payload


class App:
    """Counts the messages that it receives while it may, and says `end` after `end`."""

    def __init__(self) -> None:
        self.may_read = threading.Event()
        self.may_read.set()
        self.accepts = True
        self.is_connected = False
        self.reply = b""
        self.messages: list[str] = []
        self.code: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        self.is_connected = True
        if not self.accepts:
            self.code = (await receive())["code"]
            return
        await send({"type": "websocket.accept"})
        if self.reply:
            await send({"type": "websocket.send", "bytes": self.reply})
        while True:
            await asyncio.to_thread(self.may_read.wait)
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.code = message["code"]
                return
            self.messages.append(message["text"])
            if message["text"] == "end":
                await send({"type": "websocket.close", "code": 1000})
                return


@pytest.fixture
def app() -> App:
    """An application that is served."""
    return App()


@pytest.fixture
def connect(app: App, run_server: Callable[..., Connect]) -> Iterator[Connect]:
    """Connect to it."""
    yield run_server(app, ws=WebSocketProtocol, ws_max_size=65_536)
    app.may_read.set()


@pytest.fixture
def open_websocket(connect: Connect) -> Callable[[], socket.socket]:
    """Open a WebSocket."""

    def open_websocket() -> socket.socket:
        connection = connect()
        connection.sendall(HANDSHAKE + b"\r\n")
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += connection.recv(1)
        assert response.startswith(b"HTTP/1.1 101 ")
        return connection

    return open_websocket


def test_every_message_arrives_in_order(
    open_websocket: Callable[[], socket.socket], app: App
) -> None:
    texts = [str(number) for number in range(5000)]
    connection = open_websocket()
    connection.sendall(b"".join(frame(TEXT, text.encode()) for text in texts))
    wait_until(lambda: len(app.messages) == len(texts))
    assert app.messages == texts


def test_it_reads_no_faster_than_the_application(
    open_websocket: Callable[[], socket.socket], app: App
) -> None:
    app.may_read.clear()
    connection = open_websocket()
    connection.settimeout(1)
    block = frame(TEXT, b"a" * 1000) * 1000
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 10**8:
            sent += connection.send(block[sent % len(block) :])
    app.may_read.set()
    connection.settimeout(30)
    rest = -sent % len(block)
    connection.sendall(block[len(block) - rest :])
    wait_until(lambda: len(app.messages) == (sent + rest) / len(block) * 1000)


@pytest.mark.parametrize(
    ("start", "flood"),
    [
        (b"", frame(PING)),
        (b"", frame(PONG)),
        (frame(TEXT, fin=False), frame(CONTINUATION, b"a", fin=False)),
        (frame(TEXT, b"end"), frame(TEXT, b"more")),
    ],
)
def test_what_the_application_does_not_see_has_a_limit(
    start: bytes, flood: bytes, open_websocket: Callable[[], socket.socket], app: App
) -> None:
    connection = open_websocket()
    connection.sendall(start + flood * (2 * round(BUDGET / FRAGMENT_COST)))
    received = read_all(connection)
    if start != frame(TEXT, b"end"):
        wait_until(lambda: app.code == 1008)
        assert TOO_MANY in received or not received.endswith(frame(CLOSE))
    assert app.messages in ([], ["end"])


def test_less_than_the_limit_passes(open_websocket: Callable[[], socket.socket], app: App) -> None:
    connection = open_websocket()
    connection.sendall(frame(PING) * (AT_ONCE - 1))
    size = 1000
    large = frame(CONTINUATION, b"a" * SMALL, fin=False)
    connection.sendall(frame(TEXT, fin=False) + large * size + frame(CONTINUATION))
    wait_until(lambda: app.messages == ["a" * SMALL * size])


def test_a_client_that_reads_nothing_gets_no_pongs(
    open_websocket: Callable[[], socket.socket], app: App
) -> None:
    app.reply = bytes(10**7)
    connection = open_websocket()
    connection.sendall(frame(PING, b"a") * 10 + frame(TEXT, b"a"))
    wait_until(lambda: app.messages)
    received = bytearray()
    while len(received) < len(app.reply):
        received += connection.recv(65_536)
    connection.sendall(frame(PING, b"b"))
    while not received.endswith(b"\x8a\x01b"):
        received += connection.recv(65_536)
    assert b"\x8a\x01a" not in received


def test_a_client_that_does_not_read_that_it_is_closed_is_cut_off(
    open_websocket: Callable[[], socket.socket], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT", 0.2)
    app.reply = bytes(10**7)
    connection = open_websocket()
    connection.sendall(frame(TEXT, b"a") + frame(CLOSE))
    wait_until(lambda: app.code == 1005)
    threading.Event().wait(1)
    assert len(read_all(connection)) < len(app.reply)


@pytest.mark.parametrize("headers", [b"A: b\r\n" * 200, b"A: " + b"a" * 10_000 + b"\r\n"])
def test_a_handshake_that_cannot_be_parsed_gets_an_error(headers: bytes, connect: Connect) -> None:
    connection = connect()
    connection.sendall(HANDSHAKE + headers + b"\r\n")
    head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["message"] == "The WebSocket handshake is not valid"


def test_a_client_has_to_wait_for_the_response(connect: Connect, app: App) -> None:
    app.accepts = False
    connection = connect()
    connection.sendall(HANDSHAKE + b"\r\n")
    wait_until(lambda: app.is_connected)
    connection.sendall(frame(PING))
    assert read_all(connection) == b""
    wait_until(lambda: app.code == 1006)
