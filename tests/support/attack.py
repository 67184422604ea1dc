"""A served process under attack: its memory, and how long others wait meanwhile."""

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.raw import handshake
from tests.support.service import Service, address, environment

MIB = 2**20

# Asks again and again in a process of its own, and prints the statuses and the longest wait.
PROBE = """
import http.client, selectors, sys, time
host, port, path = sys.argv[1:]
selector = selectors.DefaultSelector()
selector.register(sys.stdin, selectors.EVENT_READ)
longest, statuses, goes_on = 0.0, set(), True
end = time.monotonic() + 120
print("ready", flush=True)
while goes_on and time.monotonic() < end:
    goes_on = not selector.select(0.02)
    start = time.monotonic()
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", path)
    statuses.add(connection.getresponse().status)
    connection.close()
    longest = max(longest, time.monotonic() - start)
print(longest, *statuses)
"""


@dataclass
class Probe:
    """The responses to a client that sends requests continuously during an attack."""

    longest: float = 0
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True)
class Target:
    """A service that runs, and its process."""

    service: Service
    pid: int

    def connect(self) -> socket.socket:
        """Open a connection."""
        parts = urlsplit(self.service.address)
        assert parts.hostname
        assert parts.port
        return socket.create_connection((parts.hostname, parts.port), timeout=30)

    def open_websocket(self, path: bytes = b"/ws", *, compressed: bool = False) -> socket.socket:
        """Open a WebSocket."""
        extension = (b"Sec-WebSocket-Extensions", b"permessage-deflate")
        headers = handshake(*[extension] * compressed)
        lines = [name + b": " + value for name, value in headers]
        connection = self.connect()
        request = [b"GET " + path + b" HTTP/1.1", b"Host: localhost", *lines, b"", b""]
        connection.sendall(b"\r\n".join(request))
        assert connection.recv(12) == b"HTTP/1.1 101"
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += connection.recv(1)
        return connection

    def memory(self, peak: bool = False) -> float:
        """Return the resident memory of the process in MB, or its peak since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024 / 1e6

    def forget_peak(self) -> None:
        """Let the peak be what the memory is now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    @contextmanager
    def probe(self, path: str = "/healthz") -> Iterator[Probe]:
        """Ask for `path` all the time while the block runs."""
        parts = urlsplit(self.service.address)
        command = [sys.executable, "-c", PROBE, str(parts.hostname), str(parts.port), path]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            probe = Probe()
            try:
                yield probe
            finally:
                output, _ = process.communicate("stop\n", timeout=90)
                longest, *statuses = output.split()
                probe.longest = float(longest)
                probe.statuses = tuple(map(int, statuses))


@contextmanager
def target(project: Path, *arguments: str, **variables: str) -> Iterator[Target]:
    """Serve a project as in production on a free port."""
    command = [str(project / ".venv/bin/python"), "-m", "app.serve", "--port=0", *arguments]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=project, env=environment(**variables), stdout=log, stderr=log
        )
        try:
            found = Target(Service(address(process, Path(log.name))), process.pid)
            # What is loaded by the first request is no matter of an attack.
            assert found.service.get("/healthz").status == 200
            yield found
            logged = Path(log.name).read_text(encoding="utf-8")
            assert "Traceback" not in logged, logged[-5000:]
        finally:
            process.kill()
            process.wait()


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, compressed: bool = False
) -> bytes:
    """Return a WebSocket frame of a client, masked with zeros. Source: RFC 6455, section 5.2"""
    size = len(payload)
    first = fin << 7 | compressed << 6 | opcode
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8)
    return head + bytes(4) + payload


def flood(connection: socket.socket, data: bytes, size: int, seconds: float = 20) -> int:
    """Send `data` again and again until `size` bytes are sent; return how many were accepted.

    Ends early when the service closes the connection or, for some seconds, takes nothing.
    """
    sent, deadline = 0, time.monotonic() + seconds
    connection.settimeout(3)
    with suppress(OSError):
        while sent < size and time.monotonic() < deadline:
            sent += connection.send(data)
    return sent


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the service closes a connection within some seconds."""
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(65536):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def read_all(connection: socket.socket, seconds: float = 10) -> bytes:
    """Return what the service sends until it closes the connection."""
    connection.settimeout(seconds)
    received = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return received
