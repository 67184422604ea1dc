import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.auth import fetch as module
from app.auth.fetch import FetchError, fetch, is_url


class Handler(BaseHTTPRequestHandler):
    """Publishes what the path says."""

    requested: list[str] = []

    def do_GET(self) -> None:
        self.requested.append(self.path)
        assert self.headers["User-Agent"] == "jwks"
        assert self.headers["Accept-Encoding"] == "identity"
        kind, _, value = self.path[1:].partition("/")
        status = int(value) if kind in ("redirect", "status") else 200
        self.send_response(status)
        if kind == "redirect":
            self.send_header("Location", "/json")
        self.end_headers()
        if kind == "size":
            self.wfile.write(b'{"a": "' + b"x" * (int(value) - 9) + b'"}')
        elif kind == "list":
            self.wfile.write(b"[]")
        elif kind == "text":
            self.wfile.write(b"<html>")
        elif kind == "deep":
            self.wfile.write(b"[" * 100_000)
        else:
            self.wfile.write(json.dumps({"keys": []}).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.requested = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_document_is_fetched(url: str) -> None:
    assert asyncio.run(fetch(f"{url}/json")) == {"keys": []}
    assert len(asyncio.run(fetch(f"{url}/size/{module.MAX_SIZE}"))["a"]) == module.MAX_SIZE - 9


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int, url: str) -> None:
    with pytest.raises(FetchError, match=f"responded with {status}"):
        asyncio.run(fetch(f"{url}/redirect/{status}"))
    assert Handler.requested == [f"/redirect/{status}"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("status/201", "responded with 201"),
        ("status/404", "responded with 404"),
        ("status/500", "responded with 500"),
        (f"size/{module.MAX_SIZE + 1}", "larger than"),
        ("list", "not a JSON object"),
        ("text", "not a JSON object"),
        ("deep", "not a JSON object"),
    ],
)
def test_another_document_is_rejected(path: str, message: str, url: str) -> None:
    with pytest.raises(FetchError, match=message) as refusal:
        asyncio.run(fetch(f"{url}/{path}"))
    assert f"{url}/{path}" in str(refusal.value)


def test_no_server_is_an_error() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(FetchError, match="ConnectError"):
            asyncio.run(fetch(f"http://127.0.0.1:{port}/"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine that no authority has signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return path


def test_the_certificate_is_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        address = f"https://127.0.0.1:{server.server_port}/json"
        try:
            with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
                asyncio.run(fetch(address))
            # An authority of one's own is trusted as by other programs.
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            module._ssl_context.cache_clear()
            assert asyncio.run(fetch(address)) == {"keys": []}
        finally:
            module._ssl_context.cache_clear()
            server.shutdown()
            thread.join()


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """A server that sends a byte at a time for as long as the client listens."""
    stopped = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(start)
            while not stopped.wait(0.01):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        stopped.set()
        thread.join()


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n{"]
)
def test_a_server_that_drips_cannot_outlast_the_deadline(start: bytes) -> None:
    async def call(url: str) -> None:
        async with asyncio.timeout(0.2):
            await fetch(url)

    with dripping(start) as url, pytest.raises((TimeoutError, FetchError)):
        asyncio.run(call(url))


@pytest.mark.parametrize(
    "url",
    ["https://id.example.com", "https://id.example.com:8443/realms/a?b=c", "https://[::1]/jwks"],
)
def test_an_https_url_is_safe(url: str) -> None:
    assert is_url(url, allow_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        1,
        ["https://id.example.com"],
        "id.example.com",
        "//id.example.com",
        "https:",
        "https:///jwks",
        "ftp://id.example.com",
        "file:///etc/passwd",
        "https://user@id.example.com",
        "https://user:password@id.example.com",
        "https://id.example.com#a",
        "https://id.example.com\n",
        "https://id.example.com /",
        "https://id.example.com:port",
        "https://id.example.com:99999",
        "https://id.example.com:0",
        "https://[id.example.com",
        "https://\N{CYRILLIC SMALL LETTER A}.example.com",
    ],
)
@pytest.mark.parametrize("allow_http", [True, False])
def test_any_other_url_is_not_safe(url: object, allow_http: bool) -> None:
    assert not is_url(url, allow_http=allow_http)


def test_http_has_to_be_allowed() -> None:
    assert is_url("http://localhost:9000", allow_http=True)
    assert not is_url("http://localhost:9000", allow_http=False)
