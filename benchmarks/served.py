"""Measure the requests per second of one uvicorn worker, with a minimal client."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from applications import BROWSER
from measure import HERE, Table, Target, in_turns

CONNECTIONS = 32
CROWDS = [1, 10, 100, 1000]
REQUEST = (
    b"GET / HTTP/1.1\r\n%b\r\n"
    % "".join(f"{name}: {value}\r\n" for name, value in BROWSER.items()).encode()
)


def run(directory: Path, rounds: int, milliseconds: int) -> list[Table]:
    """Serve the applications, and measure them in turns."""
    names = ["bare", "full", "tutorial"]
    with ExitStack() as stack:
        ports = {name: stack.enter_context(served(name, directory)) for name in names}
        samples = in_turns(
            names,
            lambda name: asyncio.run(rate(ports[name], milliseconds / 1000, CONNECTIONS)),
            rounds=rounds,
            title="served",
        )
        crowds = in_turns(
            [str(crowd) for crowd in CROWDS],
            lambda crowd: asyncio.run(rate(ports["full"], milliseconds / 1000, int(crowd))),
            rounds=rounds,
            title="crowds",
        )
    summary = Table(
        "Served by uvicorn",
        ["", "requests per second", "times bare"],
        [[name, f"{samples.median(name):,.0f}", samples.spread(name, "bare")] for name in names],
        [
            Target("the whole service, times bare", samples.ratio("full", "bare"), 0.6, True),
            Target("the same, times the tutorials", samples.ratio("full", "tutorial"), 6, True),
        ],
    )
    rows = [
        [crowd, f"{crowds.median(crowd):,.0f}", crowds.spread(crowd, "10")]
        for crowd in crowds.values
    ]
    growth = Table(
        "The whole service, by concurrent requests",
        ["concurrent", "requests per second", "times ten concurrent"],
        rows,
        [Target("a thousand, times ten", crowds.ratio("1000", "10"), 0.7, True)],
    )
    return [summary, growth]


@contextmanager
def served(name: str, directory: Path) -> Iterator[int]:
    """Serve an application, and yield the port."""
    environ = {"BENCHMARK_APPLICATION": name, "BENCHMARK_LOG": str(directory / "log")}
    environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    options = ["--factory", f"--port={port}", "--no-access-log", "--log-level=error"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "applications:served", *options],
        cwd=HERE,
        env=os.environ | environ,
    )
    try:
        while not listens(port):
            assert process.poll() is None, "the server did not start"
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Return whether a server listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Client(asyncio.Protocol):
    """A connection that sends a request after each response until a point in time."""

    end = 0.0

    def __init__(self) -> None:
        self.responses = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def start(self, end: float) -> None:
        self.end = end
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/") and not data.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(data.decode()))
        # The response is a JSON object, and may arrive in two parts.
        elif data.endswith(b"}"):
            self.responses += 1
            if time.perf_counter() < self.end:
                self.transport.write(REQUEST)
            else:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def rate(port: int, seconds: float, connections: int) -> float:
    """Return the number of responses per second for a number of concurrent connections."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Client, "127.0.0.1", port) for _ in range(connections)]
    clients = [client for _, client in opened]
    started = time.perf_counter()
    for client in clients:
        client.start(started + seconds)
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 60)
    return sum(client.responses for client in clients) / (time.perf_counter() - started)
