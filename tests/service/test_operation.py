"""Shutdown and telemetry of a service in production, with a real server and real connections."""

import json
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest

from tests.conftest import Bake
from tests.support.service import DEADLINE, Service, address, copied, environment, uv

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operation")]

CLIENTS = 8
# The service is stopped after so many responses.
RESPONSES = 200
# The time that the Dockerfile allows for the shutdown, in seconds.
GRACE = 20


@pytest.fixture(scope="module")
def installed(bake: Bake) -> Path:
    """Install a project with the extra for telemetry."""
    project = bake(database="sqlite")
    uv(project, "sync", "-q", "--extra", "telemetry")
    return project


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Path:
    """Return a copy of the installed project for one test."""
    return copied(installed, tmp_path / "project")


@contextmanager
def serving(project: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    """Serve a project as in production on a free port. The test itself stops it."""
    output = project / "uvicorn.log"
    with output.open("wb") as log:
        command = [str(project / ".venv/bin/python"), "-m", "app.serve", "--port=0"]
        process = subprocess.Popen(
            command, cwd=project, env=environment(**variables), stdout=log, stderr=log
        )
    try:
        yield process, Service(address(process, output))
    finally:
        process.kill()
        process.wait()


@dataclass
class Load:
    """Clients that create items until the server stops, and the results of their requests.

    `created`: names with a complete 201. `unanswered`: names without any response. `cut`: all other
    responses.
    """

    service: Service
    names: Iterator[int] = field(default_factory=count)
    created: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    cut: list[bytes] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def connect(self) -> socket.socket:
        """Connect, or raise ConnectionRefusedError."""
        parts = urlsplit(self.service.address)
        assert parts.hostname
        assert parts.port
        return socket.create_connection((parts.hostname, parts.port), DEADLINE)

    def is_over(self) -> bool:
        """Return whether the server rejects connections."""
        try:
            self.connect().close()
        except ConnectionError:
            return True
        return False

    def request(self, *, is_last: bool) -> tuple[str, bytes]:
        """Return a name, and the request that creates an item with this name."""
        name = f"item-{next(self.names)}"
        body = json.dumps({"name": name}).encode()
        lines = ["POST /items HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", *["Connection: close"] * is_last]
        return name, "\r\n".join([*lines, "", ""]).encode() + body

    def receive(self, connection: socket.socket, name: str) -> bool:
        """Receive one response. Return whether the connection can be used for another request."""
        received = b""
        with suppress(ConnectionError):
            while not is_complete(received):
                if not (data := connection.recv(65536)):
                    break
                received += data
        if not received:
            # Closed before the first byte, as if the request had never been accepted.
            self.unanswered.add(name)
            return False
        if not is_complete(received) or not received.startswith(b"HTTP/1.1 201 "):
            self.cut.append(received)
            return False
        self.created.add(name)
        if len(self.created) >= RESPONSES:
            self.enough.set()
        return b"connection: close" not in received.lower()

    def run(self, *, keeps_alive: bool) -> None:
        """Send requests until the server stops, on new connections or on one that is kept alive."""
        while True:
            try:
                connection = self.connect()
            except ConnectionError:
                return
            with connection:
                goes_on = True
                while goes_on:
                    name, data = self.request(is_last=not keeps_alive)
                    try:
                        connection.sendall(data)
                    except ConnectionError:
                        self.unanswered.add(name)
                        break
                    goes_on = self.receive(connection, name) and keeps_alive


def is_complete(response: bytes) -> bool:
    """Return whether a response has the length that its header states."""
    head, separator, body = response.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(separator and length and len(body) >= int(length[1]))


def test_a_shutdown_under_load_completes_accepted_requests(project: Path) -> None:
    with serving(project) as (process, service):
        load = Load(service)
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(load.run, keeps_alive=n % 2 == 0) for n in range(CLIENTS)]
            # The signal arrives in the middle of these requests.
            halves = []
            for _ in range(3):
                name, data = load.request(is_last=True)
                connection = load.connect()
                connection.sendall(data[:-5])
                halves.append((connection, name, data[-5:]))
            assert load.enough.wait(DEADLINE)
            process.terminate()
            started = monotonic()
            while not load.is_over():
                assert monotonic() < started + GRACE
            for connection, name, rest in halves:
                with connection:
                    connection.sendall(rest)
                    load.receive(connection, name)
            for client in clients:
                client.result()
        assert process.wait(GRACE) in (0, -signal.SIGTERM)
        assert monotonic() < started + GRACE
    assert load.cut == []
    assert {name for _, name, _ in halves} <= load.created
    with closing(sqlite3.connect(project / "app.db")) as database:
        stored = {name for (name,) in database.execute("SELECT name FROM items")}
    # Every client that received a 201 has its item, and no other client has one.
    assert stored == load.created
    assert load.unanswered.isdisjoint(stored)
    # At most one request per client, which it had just sent on an idle connection.
    assert len(load.unanswered) <= CLIENTS


class Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.received: list[tuple[str, bytes]] = []

    @property
    def address(self) -> str:
        """The URL of the collector."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Receiver(BaseHTTPRequestHandler):
    """Handles one export."""

    server: Collector

    def do_POST(self) -> None:
        """Keep the body, and respond with 200."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def log(project: Path) -> list[dict[str, object]]:
    """Return the log records of a service that has stopped."""
    lines = (project / "uvicorn.log").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def logged(project: Path, path: str) -> dict[str, object]:
    """Return the log record of a request to a service that has stopped."""
    (record,) = [record for record in log(project) if record.get("path") == path]
    return record


PRODUCTION = {"DEBUG": "false", "ALLOWED_HOSTS": "127.0.0.1"}


@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_request_is_traced_and_its_log_record_has_the_trace_id(
    project: Path, collector: Collector, is_in_file: bool
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    if is_in_file:
        with (project / ".env").open("a", encoding="utf-8") as env:
            env.write(f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.address}\n")
        variables = {}
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with serving(project, **PRODUCTION | variables) as (process, service):
        assert service.get("/items").status == 200
        assert service.get("/items/1", traceparent=f"00-{trace}-{parent}-01").status == 404
        assert service.get("/healthz").status == 200
        process.terminate()
        assert process.wait(DEADLINE) in (0, -signal.SIGTERM)
    spans = b"".join(body for path, body in collector.received if path == "/v1/traces")
    metrics = b"".join(body for path, body in collector.received if path == "/v1/metrics")
    record = logged(project, "/items")
    assert bytes.fromhex(str(record["trace_id"])) in spans
    assert record["request_id"]
    assert b"GET /items" in spans
    assert bytes.fromhex(trace) in spans
    assert bytes.fromhex(parent) in spans
    assert logged(project, "/items/1")["trace_id"] == trace
    assert b"my-service" in spans
    assert b"http.server.request.duration" in metrics
    assert b"healthz" not in spans + metrics
    assert "trace_id" not in logged(project, "/healthz")


def test_the_log_records_of_uvicorn_have_the_trace_id(project: Path, collector: Collector) -> None:
    variables = PRODUCTION | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    with serving(project, **variables) as (process, service):
        with closing(sqlite3.connect(project / "app.db")) as database:
            database.execute("DROP TABLE items")
        assert service.get("/items").status == 500
        process.terminate()
        process.wait(DEADLINE)
    (record,) = [entry for entry in log(project) if "exception" in entry]
    request = logged(project, "/items")
    assert record["logger"] == "uvicorn.error"
    for name in ("trace_id", "request_id"):
        assert record[name] == request[name]


def test_nothing_is_exported_without_an_endpoint(project: Path, collector: Collector) -> None:
    with serving(project, **PRODUCTION) as (process, service):
        assert service.get("/items").status == 200
        process.terminate()
        process.wait(DEADLINE)
    assert "trace_id" not in logged(project, "/items")
    assert collector.received == []


def test_an_unavailable_collector_delays_neither_requests_nor_the_shutdown(project: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with serving(project, **PRODUCTION, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as (
            process,
            service,
        ):
            assert service.get("/items").status == 200
            process.terminate()
            assert process.wait(DEADLINE) in (0, -signal.SIGTERM)
