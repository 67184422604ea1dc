"""Floods, bombs and half requests against `python -m app.serve`: memory, and others' latency."""

import json
import os
import selectors
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.attack import MIB, Target, flood, frame, is_closed, read_all, target

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("attacks")]

# What an attack may cost: resident memory in MB, and the longest wait of others in seconds.
MEMORY = 60
WAIT = 0.5
SOCKETS = 10
TEXT, BINARY, CONTINUATION, PING, PONG = 1, 2, 0, 9, 10
HEAD = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A service with WebSockets and a database."""
    return install(use_websocket=True, database="sqlite")


@pytest.fixture(scope="module")
def attacked(project: Path) -> Iterator[Target]:
    """It runs, and is attacked again and again."""
    with target(project) as running:
        yield running


def patience() -> float:
    """Return how long others may wait; longer while this machine has more to do than it can."""
    return WAIT * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))


class Cost:
    """Holds an attack to what it may cost."""

    def __init__(self, attacked: Target) -> None:
        self.attacked = attacked

    def __enter__(self) -> None:
        self.attacked.forget_peak()
        self.before = self.attacked.memory()
        self.context = self.attacked.probe()
        self.probe = self.context.__enter__()

    def __exit__(self, *exc: object) -> None:
        self.context.__exit__(None, None, None)
        grown = self.attacked.memory(peak=True) - self.before
        print(f"\ncost: +{grown:.0f} MB, {self.probe.longest:.3f} s")
        if exc[0] is None:
            assert grown < MEMORY
            assert self.probe.longest < patience()
            assert self.probe.statuses == (200,)


def test_a_compression_bomb(attacked: Target) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(bytes(16 * MIB - 1)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    bomb = frame(BINARY, data.removesuffix(b"\0\0\xff\xff"), compressed=True)
    with Cost(attacked):
        for _ in range(SOCKETS):
            with attacked.open_websocket(compressed=True) as connection:
                flood(connection, bomb, 240_000)
                assert is_closed(connection, 5)


def test_a_compression_bomb_where_compression_is_on(project: Path) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    data = compressor.compress(bytes(65_536)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    bomb = frame(BINARY, data.removesuffix(b"\0\0\xff\xff"), compressed=True)
    with target(project, WEBSOCKET_COMPRESSION="true") as attacked, Cost(attacked):
        for _ in range(SOCKETS):
            with attacked.open_websocket(b"/ws/room", compressed=True) as connection:
                flood(connection, bomb, 240_000)
                assert is_closed(connection, 5)


@pytest.mark.parametrize(
    ("start", "flooding"),
    [
        (b"", frame(TEXT, b"x")),
        (b"", frame(TEXT)),
        (frame(TEXT, b"x", fin=False), frame(CONTINUATION, b"x", fin=False)),
        (frame(TEXT, b"x", fin=False), frame(CONTINUATION, fin=False)),
        (b"", frame(PING)),
        (b"", frame(PING, bytes(125))),
        (b"", frame(PONG)),
    ],
    ids=["texts", "empty-texts", "fragments", "empty-fragments", "pings", "long-pings", "pongs"],
)
def test_a_flood_of_frames_that_reads_nothing(
    start: bytes, flooding: bytes, attacked: Target
) -> None:
    block = flooding * (65_536 // len(flooding))
    with Cost(attacked), ExitStack() as stack, ThreadPoolExecutor(SOCKETS) as pool:
        sockets = [stack.enter_context(attacked.open_websocket()) for _ in range(SOCKETS)]
        for connection in sockets:
            connection.sendall(start)
        sent = list(pool.map(lambda connection: flood(connection, block, 10 * MIB), sockets))
        assert all(is_closed(connection, 5) for connection in sockets)
    assert max(sent) < 10 * MIB


def test_a_message_may_come_in_small_pieces(attacked: Target) -> None:
    with attacked.open_websocket(b"/ws/room") as connection:
        text = json.dumps({"text": "x" * 65_000}).encode()
        pieces = [text[i : i + 10] for i in range(0, len(text), 10)]
        data = frame(TEXT, pieces[0], fin=False)
        data += b"".join(frame(CONTINUATION, piece, fin=False) for piece in pieces[1:])
        data += frame(CONTINUATION) + frame(PING, b"p")
        connection.sendall(data)
        received = b""
        while b"\x8a\x01p" not in received or b"x" * 65_000 not in received:
            received += connection.recv(65_536)


@pytest.mark.parametrize(
    ("start", "flooding"),
    [
        (HEAD + b"A: ", b"x"),
        (HEAD, b"A: b\r\n"),
        (b"GET /", b"x"),
        (b"GET /healthz?", b"x=1&"),
        (b"", b"\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"b"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x=1;"),
    ],
    ids="header headers path query lines trailers trailer chunk-extension".split(),
)
def test_a_request_of_200_mib_without_a_body(
    start: bytes, flooding: bytes, attacked: Target
) -> None:
    block = flooding * (65_536 // len(flooding))
    with Cost(attacked), attacked.connect() as connection:
        connection.sendall(start)
        sent = flood(connection, block, 200 * MIB)
        response = read_all(connection)
    # What it has read, and what the buffers of the sockets hold.
    assert sent < 8 * MIB
    assert not response or response.split()[1] in (b"431", b"400", b"405")


def test_requests_that_do_not_wait_for_their_responses(attacked: Target) -> None:
    block = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1500
    with Cost(attacked), ExitStack() as stack, ThreadPoolExecutor(SOCKETS) as pool:
        sockets = [stack.enter_context(attacked.connect()) for _ in range(SOCKETS)]
        sent = list(pool.map(lambda connection: flood(connection, block, 20 * MIB), sockets))
        assert all(is_closed(connection, 5) for connection in sockets)
    assert max(sent) < 20 * MIB


@pytest.fixture(scope="module")
def impatient(project: Path) -> Iterator[Target]:
    """A service that waits for two seconds."""
    with target(project, REQUEST_TIMEOUT="2") as running:
        yield running


@pytest.mark.parametrize(
    ("sent", "drip", "response"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b"408"),
        (b"GET /healthz HTTP/1.1\r\n", b"", b"408"),
        (b"GET /healthz HTTP/1.1\r\nA: ", b"x", b"408"),
        (b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b"", b"408"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x", b"405"),
    ],
    ids="nothing lines head slow-head body slow-extension".split(),
)
def test_half_a_request_for_ever(
    sent: bytes, drip: bytes, response: bytes, impatient: Target
) -> None:
    started = time.monotonic()
    with impatient.connect() as connection:
        connection.sendall(sent)
        received = b""
        connection.settimeout(0.5)
        while time.monotonic() < started + 10:
            try:
                if not (chunk := connection.recv(65_536)):
                    break
                received += chunk
            except TimeoutError:
                connection.sendall(drip)
            except ConnectionError:
                break
    assert time.monotonic() - started < 8
    assert received[9:12] == response
    assert not received or b'"success":false' in received


def test_a_slow_upload_goes_on(impatient: Target) -> None:
    body = b'{"name": "a lamp"}'
    with impatient.connect() as connection:
        head = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        for start in range(0, len(body), 3):
            time.sleep(0.9)
            connection.sendall(body[start : start + 3])
        assert read_all(connection).startswith(b"HTTP/1.1 201")


def test_a_flood_of_readiness_probes(project: Path) -> None:
    request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with target(project) as attacked, ExitStack() as stack:
        sockets = [stack.enter_context(attacked.connect()) for _ in range(100)]
        stop = threading.Event()

        def ask(connection: socket.socket) -> None:
            while not stop.is_set():
                connection.sendall(request)
                response = b""
                while b'{"status":"ok"}' not in response:
                    response += connection.recv(65_536)
                assert response.startswith(b"HTTP/1.1 200 ")

        with ThreadPoolExecutor(len(sockets)) as pool:
            flooding = [pool.submit(ask, connection) for connection in sockets]
            with attacked.probe("/readyz") as ready, attacked.probe("/items") as items:
                time.sleep(5)
            stop.set()
            for one in flooding:
                one.result()
    print(f"\ncost: {ready.longest:.3f} s, /items {items.longest:.3f} s")
    assert ready.statuses == items.statuses == (200,)
    # Each of a hundred others is served before it is their turn again.
    assert max(ready.longest, items.longest) < 2 * patience()


def test_one_room_in_which_all_talk(project: Path) -> None:
    message = frame(TEXT, b'{"text": "hello"}')
    with target(project) as attacked, ExitStack() as stack:
        sockets = [stack.enter_context(attacked.open_websocket(b"/ws/room")) for _ in range(100)]
        stop = threading.Event()

        def listen() -> None:
            with selectors.DefaultSelector() as selector:
                for connection in sockets:
                    selector.register(connection, selectors.EVENT_READ)
                while not stop.is_set():
                    for key, _ in selector.select(0.1):
                        assert isinstance(key.fileobj, socket.socket)
                        key.fileobj.recv(MIB)

        with ThreadPoolExecutor(1) as pool:
            listener = pool.submit(listen)
            try:
                with Cost(attacked):
                    # Each at the rate that it may have.
                    for _ in range(100):
                        ends = time.monotonic() + 0.05
                        for connection in sockets:
                            connection.sendall(message)
                        time.sleep(max(0, ends - time.monotonic()))
            finally:
                stop.set()
            listener.result()
