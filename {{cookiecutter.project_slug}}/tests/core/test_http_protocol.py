import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from app.config import Settings
from app.core.http_protocol import MAX_PIPELINED, MAX_UNPARSED, SLICE
from tests.fixtures.server import Connect, read_all, wait_until

TIMEOUT = 0.4
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n\r\n"


class App:
    """Reads the body, once it may, and responds with its length and its last header."""

    def __init__(self) -> None:
        self.may_read = threading.Event()
        self.may_read.set()
        self.may_end = threading.Event()
        self.may_end.set()
        self.requests = 0
        self.lost = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        await asyncio.to_thread(self.may_read.wait)
        size, message = 0, await receive()
        while message["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
            message = await receive()
        else:
            self.lost += 1
            return
        body = json.dumps([size, scope["headers"][-1][0].decode(), scope["client"][0]]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if scope["path"] == "/large":
            await send({"type": "http.response.body", "body": bytes(10**7), "more_body": True})
        await asyncio.to_thread(self.may_end.wait)
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def app() -> App:
    """An application that is served."""
    return App()


@pytest.fixture
def connect(
    app: App, run_server: Callable[..., Connect], make_settings: Callable[..., Settings]
) -> Iterator[Connect]:
    """Connect to it."""
    yield run_server(app, settings=make_settings(request_timeout=TIMEOUT))
    app.may_read.set()
    app.may_end.set()


def error_of(response: bytes) -> Any:
    """Return the error of a response."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert head.startswith(f"HTTP/1.1 {error['code']} ".encode())
    return error


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (GET + b"A: ", b"a"),
        (GET, b"A: b\r\n"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
        (CHUNKED + b"1;", b"a"),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
    ],
)
def test_a_head_has_a_limit(start: bytes, rest: bytes, connect: Connect) -> None:
    connection = connect()
    connection.sendall(start + rest * (2 * MAX_UNPARSED // len(rest)))
    response = read_all(connection)
    if response:
        assert error_of(response) == {
            "code": 431,
            "message": "The request headers are too large",
            "type": "request_header_fields_too_large",
        }


def test_the_limit_is_for_each_request(connect: Connect) -> None:
    connection = connect()
    large = GET + b"A: " + b"a" * (MAX_UNPARSED - SLICE) + b"\r\n"
    connection.sendall(large + b"\r\n" + large + CLOSE)
    assert read_all(connection).count(b"HTTP/1.1 200 ") == 2


def test_a_body_has_no_such_limit(connect: Connect) -> None:
    connection = connect()
    size = 5 * MAX_UNPARSED
    connection.sendall(POST + b"Content-Length: %d\r\n" % size + CLOSE + bytes(size))
    assert f"[{size}, ".encode() in read_all(connection)


def test_trailers_are_no_headers(connect: Connect) -> None:
    connection = connect()
    head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + b"1\r\na\r\n0\r\nX-Trailer: a\r\n\r\n")
    assert b'[1, "transfer-encoding", "127.0.0.1"]' in read_all(connection)


def test_what_is_no_request_gets_the_usual_error(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"hello\r\n\r\n")
    error = {"code": 400, "message": "Invalid HTTP request received", "type": "bad_request"}
    assert error_of(read_all(connection)) == error


def test_too_many_requests_at_once(connect: Connect, app: App) -> None:
    app.may_end.clear()
    connection = connect()
    connection.sendall((GET + b"\r\n") * (MAX_PIPELINED + 10))
    assert b"HTTP/1.1 200 " not in read_all(connection)
    assert app.requests <= 1


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", ""),
        (b"\r\n", "The request did not arrive in time"),
        (GET, "The request did not arrive in time"),
        (POST + b"Content-Length: 2\r\n\r\na", "The request did not arrive in time"),
        (CHUNKED + b"1\r\na\r\n1;", "The request did not arrive in time"),
    ],
)
def test_a_client_that_stops(sent: bytes, message: str, connect: Connect, app: App) -> None:
    connection = connect()
    connection.sendall(sent)
    response = read_all(connection)
    assert (error_of(response)["message"] if response else "") == message
    wait_until(lambda: app.lost == app.requests)


def test_a_client_that_goes_on_has_time(connect: Connect) -> None:
    connection = connect()
    connection.sendall(POST + b"Content-Length: 4\r\n" + CLOSE)
    for _ in range(4):
        # Together more than the timeout.
        threading.Event().wait(TIMEOUT / 2)
        connection.sendall(b"a")
    assert b"[4, " in read_all(connection)


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_an_application_that_reads_late_is_no_fault_of_the_client(
    expect: bytes, connect: Connect, app: App
) -> None:
    app.may_read.clear()
    connection = connect()
    connection.sendall(POST + expect + b"Content-Length: 4\r\n" + CLOSE + b"ab" * (not expect))
    threading.Event().wait(TIMEOUT * 2)
    app.may_read.set()
    if expect:
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
    connection.sendall(b"cd")
    assert b"[4, " in read_all(connection)


def test_a_long_response_is_not_cut_off(connect: Connect, app: App) -> None:
    app.may_end.clear()
    connection = connect()
    connection.sendall(GET + CLOSE)
    threading.Event().wait(TIMEOUT * 2)
    app.may_end.set()
    assert read_all(connection).endswith(b"0\r\n\r\n")


def test_nothing_is_written_into_a_response(connect: Connect, app: App) -> None:
    app.may_end.clear()
    connection = connect()
    connection.sendall(GET + b"\r\n")
    response = b""
    while b"[0, " not in response:
        response += connection.recv(65_536)
    connection.sendall(b"a" * (MAX_UNPARSED + SLICE))
    assert b"HTTP/1.1 " not in read_all(connection)


def test_a_client_that_reads_nothing_is_cut_off(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n" + CLOSE)
    threading.Event().wait(TIMEOUT * 3)
    assert not read_all(connection).endswith(b"0\r\n\r\n")


def test_after_an_upgrade_it_looks_no_more(
    app: App, run_server: Callable[..., Connect], make_settings: Callable[..., Settings]
) -> None:
    class Echo(asyncio.Protocol):
        def __init__(self, **options: object) -> None: ...

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            cast(asyncio.Transport, self.transport).write(data[-1:])

    connect = run_server(app, settings=make_settings(request_timeout=TIMEOUT), ws=Echo)
    connection = connect()
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    # What follows in the same breath belongs to neither.
    connection.sendall(upgrade + b"a" * 3 * SLICE)
    assert connection.recv(1) == b"\n"
    threading.Event().wait(TIMEOUT * 2)
    connection.sendall(b"b")
    assert connection.recv(65_536).endswith(b"b")


def test_clients_of_a_unix_socket_have_a_name_that_can_be_trusted(
    app: App, run_server: Callable[..., Connect]
) -> None:
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/socket")
        listener.listen()
        connect = run_server(app, listener=listener)
        for forwarded, client in ((b"", b"unix"), (b"X-Forwarded-For: a, b\r\n", b"b")):
            connection = connect()
            connection.sendall(GET + forwarded + CLOSE)
            assert b'"' + client + b'"]' in read_all(connection)
