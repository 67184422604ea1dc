"""Redis servers that a test may stop, and commands to any Redis server."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import urlsplit

import pytest

DEADLINE = 10


def unavailable(reason: str) -> None:
    """Skip the test, or fail it if REQUIRE_SERVICES is set."""
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def command(url: str, *words: str) -> bytes:
    """Send one command to a Redis server, and return the first line of its reply."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 6379), timeout=1) as client:
        database = address.path.strip("/") or "0"
        for arguments in (("SELECT", database), words):
            client.sendall(f"*{len(arguments)}\r\n".encode())
            client.sendall("".join(f"${len(a)}\r\n{a}\r\n" for a in arguments).encode())
        lines = client.makefile("rb")
        lines.readline()
        return lines.readline().strip()


@dataclass
class RedisServer:
    """A Redis server that can be frozen, killed and started again."""

    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def file(self) -> Path:
        return Path(gettempdir()) / f"redis-{self.port}.rdb"

    def reply(self, *words: str) -> bytes:
        """Send one command, and return its whole reply, which has to be a text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
            client.sendall(f"*{len(words)}\r\n".encode())
            client.sendall("".join(f"${len(word)}\r\n{word}\r\n" for word in words).encode())
            lines = client.makefile("rb")
            return lines.read(int(lines.readline()[1:]))

    def start(self, *options: str) -> None:
        """Start the server, and wait until it is ready. `options`: such as `--timeout 4`."""
        program = shutil.which("redis-server")
        if program is None:
            unavailable("redis-server is not installed")
        # A replica writes a file when it starts to follow its primary.
        place = ["--dir", gettempdir(), "--dbfilename", self.file.name]
        memory = ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [str(program), "--port", str(self.port), *place, *memory, *options],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                if command(self.url, "PING") == b"+PONG":
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.file.unlink(missing_ok=True)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a new Redis server."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.kill()
