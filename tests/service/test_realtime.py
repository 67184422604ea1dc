"""WebSockets of a generated service: under load, in several processes, with hostile clients."""

import asyncio
import itertools
import json
import os
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import Bake
from tests.support.redis_server import RedisServer
from tests.support.service import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("realtime")]

# For the tests of anything but the limits.
UNLIMITED = {"WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT": "100000", "WEBSOCKET_MESSAGE_RATE": "100000"}
# How long tests wait, in seconds.
LIMIT = 60

# A route that returns the internal state of a service.
PROBE = """
import asyncio, gc, os
from app.middleware.websocket import WebSocketMiddleware
from app.realtime.outgoing_queue import OutgoingQueue

@app.get("/probe")
async def probe() -> dict[str, int]:
    gc.collect()
    layer = app.middleware_stack
    while not isinstance(layer, WebSocketMiddleware):
        layer = getattr(layer, "app")
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "tasks": len(asyncio.all_tasks()),
        "rooms": len(app.state.hub.rooms),
        "members": sum(len(room) for room in app.state.hub.rooms.values()),
        "queues": sum(isinstance(thing, OutgoingQueue) for thing in gc.get_objects()),
        "connections": layer.connections,
        "clients": len(layer.clients),
        "kilobytes": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    }
"""


@pytest.fixture(scope="module")
def projects(install: Bake) -> list[Path]:
    """Install two projects with WebSockets and the route of `PROBE`."""
    projects = [install(use_websocket=True) for _ in range(2)]
    for project in projects:
        main = project / "app/main.py"
        main.write_text(main.read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    return projects


@pytest.fixture(scope="module")
def project(projects: list[Path]) -> Path:
    """Return one of the projects."""
    return projects[0]


@contextmanager
def two_processes(projects: list[Path], redis: RedisServer) -> Iterator[list[Service]]:
    """Serve two projects that share a Redis server."""
    with ExitStack() as stack:
        settings = UNLIMITED | {"REDIS_URL": redis.url}
        yield [stack.enter_context(serving(project, **settings)) for project in projects]


def url(service: Service, path: str) -> str:
    """Return the URL of a WebSocket."""
    return service.address.replace("http", "ws") + path


def dial(service: Service, path: str, **options: Any) -> connect:
    """Open a WebSocket without compression, and without a limit on received messages."""
    return connect(url(service, path), compression=None, max_queue=None, proxy=None, **options)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(LIMIT):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


class Member:
    """A client in a room. `received`: the texts of messages; `errors`: those of errors."""

    def __init__(self, room: str, connection: ClientConnection) -> None:
        self.room = room
        self.connection = connection
        self.received: list[str] = []
        self.errors: list[str] = []
        self.closed: ConnectionClosed | None = None
        self.joined = asyncio.Event()
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        try:
            while True:
                message = json.loads(await self.connection.recv())
                assert message["room"] == self.room
                if message["type"] == "message":
                    self.received.append(message["text"])
                elif message["type"] == "error":
                    self.errors.append(message["text"])
                self.joined.set()
        except ConnectionClosed as closed:
            self.closed = closed

    async def say(self, text: str) -> None:
        await self.connection.send(json.dumps({"text": text}))


@asynccontextmanager
async def members(services: list[Service], sockets: int, rooms: int) -> AsyncIterator[list[Member]]:
    """Open `sockets` WebSockets to each service, distributed over `rooms` rooms."""
    async with AsyncExitStack() as stack:
        everyone = []
        for number, service in itertools.product(range(sockets), services):
            room = f"room-{number % rooms}"
            connection = await stack.enter_async_context(dial(service, f"/ws/{room}"))
            everyone.append(Member(room, connection))
        await asyncio.gather(*(member.joined.wait() for member in everyone))
        yield everyone


def test_members_in_two_processes_receive_all_messages_in_the_same_order(
    projects: list[Path], redis: RedisServer
) -> None:
    # 200 sockets on each, 50 rooms, 20,000 messages.
    async def talk(services: list[Service]) -> None:
        await eventually(lambda: all(map(is_connected, projects)))
        async with members(services, sockets=200, rooms=50) as everyone:

            async def say_all(number: int, member: Member) -> None:
                for count in range(50):
                    await member.say(f"{member.room} {number} {count}")

            speakers = [say_all(number, member) for number, member in enumerate(everyone)]
            await asyncio.gather(*speakers)
            await eventually(lambda: all(len(member.received) >= 400 for member in everyone))
            rooms = defaultdict(list)
            for member in everyone:
                rooms[member.room].append(member)
                assert member.closed is None
                assert member.errors == []
            for room, inside in rooms.items():
                heard = inside[0].received
                # Each message once, and only those of this room.
                assert len(inside) == 8
                assert len(set(heard)) == len(heard) == 400
                assert all(text.split()[0] == room for text in heard)
                # The same order for all members, which keeps the order of each sender.
                assert all(member.received == heard for member in inside)
                counts = defaultdict(list)
                for text in heard:
                    counts[text.split()[1]].append(int(text.split()[2]))
                assert all(sequence == list(range(50)) for sequence in counts.values())

    with two_processes(projects, redis) as services:
        asyncio.run(talk(services))
        for project in projects:
            assert "were lost" not in log_of(project)


def test_service_resumes_after_an_outage_of_redis(projects: list[Path], redis: RedisServer) -> None:
    async def talk(services: list[Service]) -> dict[Path, int]:
        await eventually(lambda: all(map(is_connected, projects)))
        async with members(services, sockets=40, rooms=10) as everyone:
            said: dict[str, set[str]] = defaultdict(set)
            stopped = asyncio.Event()

            async def say_on(number: int, member: Member) -> None:
                for count in itertools.count():
                    text = f"{number} {count}"
                    said[member.room].add(text)
                    await member.say(text)
                    await asyncio.sleep(0.02)
                    if stopped.is_set():
                        return

            speakers = [asyncio.create_task(say_on(*pair)) for pair in enumerate(everyone)]
            await asyncio.sleep(1)
            redis.kill()
            await eventually(lambda: all(s.get("/readyz").status == 503 for s in services))
            await asyncio.sleep(5)
            redis.start()
            await eventually(lambda: all(s.get("/readyz").status == 200 for s in services))
            # Messages that are sent from now on arrive.
            for number, member in enumerate(everyone):
                said[member.room].add(f"{number} after")
                await member.say(f"{number} after")
            await asyncio.sleep(1)
            stopped.set()
            await asyncio.gather(*speakers)
            for number, member in enumerate(everyone):
                said[member.room].add(f"{number} end")
                await member.say(f"{number} end")
            ends = Counter(member.room for member in everyone)

            def ended(member: Member) -> bool:
                return sum(text.endswith("end") for text in member.received) == ends[member.room]

            await eventually(lambda: all(ended(member) for member in everyone))
            lost: dict[Path, dict[str, int]] = {project: {} for project in projects}
            for number, member in enumerate(everyone):
                assert member.closed is None
                assert len(member.received) == len(set(member.received))
                assert set(member.received) <= said[member.room]
                after = sum(text.endswith("after") for text in member.received)
                assert after == ends[member.room]
                missing = len(said[member.room]) - len(member.received)
                assert lost[projects[number % 2]].setdefault(member.room, missing) == missing
            # Senders received an error for each message during the outage.
            assert sum(len(member.errors) for member in everyone) > 1000
            return {project: sum(rooms.values()) for project, rooms in lost.items()}

    with two_processes(projects, redis) as services:
        lost = asyncio.run(talk(services))
        for project in projects:
            log = log_of(project)
            # The number of lost messages that each process logs is exact.
            totals = re.findall(r"(\d+) messages were lost, (\d+) so far", log)
            assert int(totals[-1][1]) == sum(int(some) for some, _ in totals) == lost[project]
            assert lost[project] > 1000
            assert log.count("no connection to Redis") == 1
            rejected = re.search(r"connected to Redis after ([\d.]+) s, during which (\d+)", log)
            assert rejected
            assert 5 < float(rejected[1]) < 15
            assert int(rejected[2]) > 500
            assert "Exception in ASGI application" not in log
            assert "never retrieved" not in log
            # The readiness checks that failed have logged tracebacks, which `serving` rejects.
            os.truncate(project / "uvicorn.log", 0)


def test_a_client_that_stops_reading_delays_no_other(project: Path) -> None:
    size = 10_000

    async def talk(service: Service) -> None:
        with stuck(service, "/ws/room-0"), stuck(service, "/ws/room-0") as resuming:
            async with members([service], sockets=5, rooms=1) as everyone:
                speaker, *listeners = everyone
                slowest, reading = 0.0, None
                for count in range(2000):
                    started = time.monotonic()
                    await speaker.say(f"{count:06}".ljust(size))
                    await wait_for_messages(listeners, count + 1)
                    slowest = max(slowest, time.monotonic() - started)
                    if reading is None and count % 50 == 0 and probe(service)["members"] == 5:
                        reading = asyncio.create_task(asyncio.to_thread(read_all, resuming))
                assert slowest < 2
                assert all(member.closed is None for member in everyone)
            # The client that resumes reading finds the reason of the close at the end.
            assert reading
            data = await reading
            assert data.endswith(b"\x88\x0a" + (1013).to_bytes(2, "big") + b"Too slow")
            assert len(data) < 2000 * size

    with serving(project, **UNLIMITED) as service:
        asyncio.run(talk(service))


def probe(service: Service) -> dict[str, int]:
    """Return the internal state of a service."""
    state: dict[str, int] = service.get("/probe").json()
    return state


async def wait_for_messages(members: list[Member], count: int) -> None:
    """Wait until all members have received this number of messages."""
    async with asyncio.timeout(LIMIT):
        while any(len(member.received) < count for member in members):
            await asyncio.sleep(0)


def test_disconnected_clients_leave_nothing_in_memory(project: Path) -> None:
    async def come_and_go(service: Service, number: int) -> None:
        reader, writer = await asyncio.open_connection(*address_of(service))
        text = b'{"text":"hello"}'
        frame = bytes([0x81, 0x80 | len(text)]) + bytes(4) + text
        writer.write(handshake(f"/ws/room-{number % 100}"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame)
        await reader.readuntil(b"hello")
        if number % 3:
            writer.write(b"\x88\x80\0\0\0\0")
            await reader.read()
            writer.close()
        else:
            writer.transport.abort()

    async def cycle(service: Service, numbers: range) -> dict[str, int]:
        for start in range(0, len(numbers), 50):
            some = numbers[start : start + 50]
            await asyncio.gather(*(come_and_go(service, number) for number in some))
        await eventually(lambda: probe(service)["connections"] == 0)
        await eventually(lambda: probe(service)["queues"] == 0)
        return probe(service)

    async def measure(service: Service) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        fresh = probe(service)
        warm = await cycle(service, range(1_000))
        return fresh, warm, await cycle(service, range(10_000))

    with serving(project, **UNLIMITED) as service:
        fresh, warm, after = asyncio.run(measure(service))
    for state in (warm, after):
        for name in ("rooms", "members", "queues", "connections", "clients"):
            assert state[name] == 0
        assert state["tasks"] == fresh["tasks"]
    assert after["kilobytes"] - warm["kilobytes"] < 2_000


def test_hostile_clients_are_rejected_or_disconnected(project: Path) -> None:
    settings = {"WEBSOCKET_MAX_CONNECTIONS": "20", "WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT": "10"}

    async def behave_badly(service: Service) -> None:
        await check_refused(service, 403, "forbidden", origin="https://evil.example")
        await check_refused(service, 403, "forbidden", origin="null")
        await check_refused(service, 404, "not_found", path="/nowhere")
        await check_refused(service, 422, "unprocessable_content", path="/ws/no%20room")

        async with dial(service, "/ws") as peer:
            await peer.send(b"\x00\xff")
            assert await close_code(peer) == 1003
        async with dial(service, "/ws/room") as peer:
            for bad in (b"\x00\xff", "{", "[" * 60_000):
                await peer.send(bad)
            await peer.send('{"text": "still here"}')
            types = [json.loads(await peer.recv())["type"] for _ in range(5)]
            assert types == ["joined", "error", "error", "error", "message"]
        # More than the limit of the middleware, then more than that of uvicorn.
        for size in (65_537, 17 * 1024 * 1024):
            async with dial(service, "/ws/room", max_size=None) as peer:
                with suppress(ConnectionClosed):
                    await peer.send("x" * size)
                assert await close_code(peer) == 1009
        async with dial(service, "/ws/room") as peer:
            with suppress(ConnectionClosed):
                for _ in range(5_000):
                    await peer.send('{"text": "flood"}')
            assert await close_code(peer) == 1008
        # Invalid UTF-8, an unknown opcode, no mask, and a disconnect within a frame.
        for bytes_ in (b"\x81\x81\0\0\0\0\xff", b"\x83\x80\0\0\0\0", b"\x81\x01x", b"\x81\xfe"):
            async with dial(service, "/ws/room") as peer:
                peer.transport.write(bytes_)
                if len(bytes_) == 2:
                    peer.transport.abort()
                await close_code(peer)

        async with AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(dial(service, "/ws"))
            await check_refused(service, 429, "too_many_requests")
        await eventually(lambda: probe(service)["connections"] == 0)
        async with dial(service, "/ws") as peer:
            await peer.send("unharmed")
            assert await peer.recv() == "Message received: unharmed"

    # `serving` checks that no traceback is logged.
    with serving(project, **settings) as service:
        asyncio.run(behave_badly(service))
        log = log_of(project)
    assert "ASGI callable returned without completing handshake" not in log
    assert "ERROR" not in log


def test_a_websocket_requires_an_api_key(install: Bake) -> None:
    project = install(use_websocket=True, use_api_key=True)

    async def connect_with_key(service: Service) -> None:
        await check_refused(service, 401, "unauthorized")
        headers = {"X-API-Key": "key-of-the-test"}
        async with dial(service, "/ws", additional_headers=headers) as peer:
            await peer.send("hello")
            assert await peer.recv() == "Message received: hello"

    with serving(project, API_KEYS="key-of-the-test") as service:
        asyncio.run(connect_with_key(service))


def test_a_shutdown_closes_every_websocket(project: Path, redis: RedisServer) -> None:
    async def stop() -> None:
        async with AsyncExitStack() as stack:
            with serving(project, REDIS_URL=redis.url, **UNLIMITED) as service:
                await eventually(lambda: is_connected(project))
                everyone = await stack.enter_async_context(members([service], 100, rooms=5))
                started = time.monotonic()
            assert time.monotonic() - started < 5
            await asyncio.gather(*(member.reader for member in everyone))
            for member in everyone:
                assert member.closed is not None
                assert member.closed.rcvd is not None
                assert member.closed.rcvd.code == 1012

    asyncio.run(stop())


def test_a_client_that_does_not_read_delays_the_shutdown_only_briefly(project: Path) -> None:
    # The Dockerfile sets this option on the command line.
    grace = {"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "1"}

    async def fill(service: Service) -> None:
        async with dial(service, "/ws/room-0") as speaker:
            for _ in range(2000):
                await speaker.send(json.dumps({"text": "x" * 10_000}))
                await speaker.recv()
        # The service has closed the connection, but uvicorn still has data to send.
        await eventually(lambda: probe(service)["connections"] == 0)

    with ExitStack() as stack:
        with serving(project, **UNLIMITED, **grace) as service:
            stack.enter_context(stuck(service, "/ws/room-0"))
            asyncio.run(fill(service))
            started = time.monotonic()
        assert time.monotonic() - started < 5


async def check_refused(
    service: Service, status: int, kind: str, path: str = "/ws", origin: str | None = None
) -> None:
    """Check that a handshake is rejected with an error in the documented format."""
    with pytest.raises(InvalidStatus) as caught:
        await dial(service, path, origin=origin)
    response = caught.value.response
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    error = json.loads(response.body or b"")["error"]
    assert (error["code"], error["type"]) == (status, kind)


async def close_code(peer: ClientConnection) -> int | None:
    """Read until the connection is closed, and return the close code of the server."""
    async with asyncio.timeout(LIMIT):
        try:
            while True:
                await peer.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def address_of(service: Service) -> tuple[str, int]:
    """Return the host and the port of a service."""
    host, port = service.address.removeprefix("http://").split(":")
    return host, int(port)


def handshake(path: str) -> bytes:
    """Return the request of a WebSocket handshake."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def stuck(service: Service, path: str) -> socket.socket:
    """Open a WebSocket from which nothing is read."""
    peer = socket.create_connection(address_of(service))
    peer.sendall(handshake(path))
    return peer


def read_all(peer: socket.socket) -> bytes:
    """Read until the other side closes the connection."""
    peer.settimeout(LIMIT)
    return b"".join(iter(lambda: peer.recv(1 << 20), b""))


def is_connected(project: Path) -> bool:
    """Return whether the hub of a service has connected to Redis."""
    return "connected to Redis" in log_of(project)


def log_of(project: Path) -> str:
    """Return the log of a service."""
    return (project / "uvicorn.log").read_text(encoding="utf-8")
