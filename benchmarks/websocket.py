"""Measure a room with 1,000 WebSockets, compared with a bare Starlette endpoint.

The fan-out of single messages and of bursts is measured, the processor time that they take, and the
memory of an idle WebSocket. A third server is the service with a plain queue: a task per WebSocket
that waits on an `asyncio.Queue`.

The servers run in a process each and take turns, so that a busy machine slows all of them. The
clients only read bytes, so that the servers are measured.
"""

import argparse
import asyncio
import base64
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
LIMIT = 0.7
Room = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
# The port and the process id of a server.
Server = tuple[int, int]
BARE = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

sockets = []

async def chat(websocket):
    await websocket.accept()
    sockets.append(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for socket in list(sockets):
                await socket.send_text(text)
    except WebSocketDisconnect:
        sockets.remove(websocket)

app = Starlette(routes=[WebSocketRoute("/ws/{room}", chat)])
"""
# Takes the place of app/realtime/outgoing_queue.py.
PLAIN_QUEUE = """
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Send = Callable[[str], Coroutine[Any, Any, None]]

class OutgoingQueue:
    def __init__(self, size, send, on_overflow):
        self.overflowed = False
        self._send = send
        self._on_overflow = on_overflow
        self._queue = asyncio.Queue(size)

    def put(self, text):
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            if not self.overflowed:
                self.overflowed = True
                self._on_overflow()

    async def send_waiting(self):
        while True:
            await self._send(await self._queue.get())
"""
ROUNDS = {"single messages": 1, "bursts of 50": 50}
END = b"the end of the round"


def frame(text: bytes) -> bytes:
    """Return a masked text frame (RFC 6455, section 5.2)."""
    # The mask, which clients must use, is zero, so that the text is unchanged.
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def served(directory: Path, program: Path) -> Iterator[Server]:
    """Serve `app.main:app` of a directory. Yields the port and the process id."""
    settings = {
        "DEBUG": "true",
        "LOG_LEVEL": "ERROR",
        "WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT": "10000",
        "WEBSOCKET_MESSAGE_RATE": "100000",
        # More than a burst has messages, so that no socket is closed for being slow.
        "WEBSOCKET_QUEUE_SIZE": "1000",
    }
    port = free_port()
    # Without pings, to which the clients do not respond.
    options = ["--port", str(port), "--log-level", "error", "--ws-ping-interval", "0"]
    process = subprocess.Popen(
        [program, "app.main:app", *options], cwd=directory, env=os.environ | settings
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        "GET /ws/room HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    )
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def read_until_end(reader: asyncio.StreamReader) -> None:
    """Read until the last message of a round."""
    tail = b""
    while END not in tail:
        data = await reader.read(65536)
        assert data, "closed"
        tail = tail[-len(END) :] + data


def memory(process: int) -> int:
    """Return the resident memory of a process, in bytes."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def processor_time(process: int) -> float:
    """Return the processor time of a process, in seconds."""
    nanoseconds = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0]
    return int(nanoseconds) / 1e9


async def fill(servers: dict[str, Server], sockets: int) -> tuple[dict[str, Room], float]:
    """Open the WebSockets. Return them, and the ratio of the memory of a bare one to ours."""
    rooms: dict[str, Room] = {}
    taken: dict[str, float] = {}
    for name, (port, process) in servers.items():
        # The first WebSockets also allocate memory that all of them share.
        first = [await connect(port) for _ in range(sockets // 10)]
        before = memory(process)
        rooms[name] = first + [await connect(port) for _ in range(sockets - len(first))]
        await say(rooms[name], 1)
        taken[name] = (memory(process) - before) / (sockets - len(first))
        print(f"{'memory':16} {name:6} {taken[name] / 1024:10,.1f} KiB per socket")
    return rooms, taken["bare"] / taken["room"]


async def say(room: Room, messages: int) -> float:
    """Send messages from the first member. Return the seconds until all members have them."""
    _, writer = room[0]
    start = time.perf_counter()
    for _ in range(messages - 1):
        writer.write(frame(b'{"text":"' + b"x" * 64 + b'"}'))
    writer.write(frame(b'{"text":"' + END + b'"}'))
    await asyncio.gather(*(read_until_end(reader) for reader, _ in room))
    return time.perf_counter() - start


async def run(servers: dict[str, Server], sockets: int, rounds: int) -> None:
    """Print the medians. Exit with status 1 if the room is too slow."""
    rooms, footprint = await fill(servers, sockets)
    ratios = {}
    for kind, messages in ROUNDS.items():
        rates: dict[str, list[float]] = {name: [] for name in rooms}
        times: dict[str, list[float]] = {name: [] for name in rooms}
        # As many messages of either kind, in turns; the first round warms up.
        for number in range(rounds * (1 if messages > 1 else 10) + 1):
            for name, room in rooms.items():
                before = processor_time(servers[name][1])
                seconds = await say(room, messages)
                taken = processor_time(servers[name][1]) - before
                if number:
                    rates[name].append(sockets * messages / seconds)
                    times[name].append(taken / (sockets * messages) * 1e6)
        for name, values in rates.items():
            rate, time_taken = statistics.median(values), statistics.median(times[name])
            print(
                f"{kind:16} {name:6} {rate:10,.0f} messages per second, {time_taken:5.1f} us each"
            )
        pairs = zip(times["plain"], times["room"], strict=True)
        ratio = statistics.median(plain / ours for plain, ours in pairs)
        print(f"{kind:16} a plain queue takes {ratio:.2f} times the processor time")
        pairs = zip(rates["room"], rates["bare"], strict=True)
        ratios[kind] = [ours / bare for ours, bare in pairs]
    medians = {kind: statistics.median(values) for kind, values in ratios.items()}
    print(f"\n{'':16} {'ratio':>6}  at least {LIMIT}")
    print(f"{'memory':16} {footprint:6.2f}")
    for kind, median in medians.items():
        print(f"{kind:16} {median:6.2f}  {'yes' if median >= LIMIT else 'NO'}")
    sys.exit(min(medians.values()) < LIMIT)


def main() -> None:
    """Serve both and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    # Two rooms with a thousand members need more open files than most shells allow.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        bare, ours = Path(directory, "bare"), Path(directory, "my-service")
        (bare / "app").mkdir(parents=True)
        (bare / "app/main.py").write_text(BARE, encoding="utf-8")
        command = [sys.executable, "-m", "cookiecutter", str(HERE), "--no-input", "-o", directory]
        subprocess.run([*command, "use_websocket=true"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["uv", "sync", "--quiet"], cwd=ours, check=True)
        program = ours / ".venv/bin/uvicorn"
        plain = Path(directory, "plain")
        shutil.copytree(ours / "app", plain / "app")
        queue = plain / "app/realtime/outgoing_queue.py"
        assert queue.exists()
        queue.write_text(PLAIN_QUEUE, encoding="utf-8")
        servers = {
            "bare": stack.enter_context(served(bare, program)),
            "room": stack.enter_context(served(ours, program)),
            "plain": stack.enter_context(served(plain, program)),
        }
        asyncio.run(run(servers, arguments.sockets, arguments.rounds))


if __name__ == "__main__":
    main()
