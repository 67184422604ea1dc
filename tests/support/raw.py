"""Requests that no client library sends, byte by byte, and JSON Web Tokens made by hand."""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.service import Service

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class RawResponse:
    """The response of a service, and after how many seconds it was complete."""

    status: int
    head: bytes
    body: bytes
    seconds: float


def ask(
    service: Service,
    target: bytes,
    *headers: tuple[bytes, bytes],
    method: bytes = b"GET",
    host: bytes | None = b"localhost",
    body: bytes = b"",
) -> RawResponse:
    """Send a request unchanged, on a new connection."""
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [b"Host: " + host] if host is not None else []
    lines += [name + b": " + value for name, value in headers]
    lines += [b"Content-Length: %d" % len(body)] if body else []
    if not any(name.lower() == b"upgrade" for name, _ in headers):
        lines.append(b"Connection: close")
    address = urlsplit(service.address)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.settimeout(2)
        start = time.perf_counter()
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
                if received.startswith(b"HTTP/1.1 101"):
                    break
        except ConnectionResetError:
            pass  # it closed the connection before it had read the whole request
        seconds = time.perf_counter() - start
    head, _, content = received.partition(b"\r\n\r\n")
    return RawResponse(int(head.split()[1]), head, content, seconds)


def handshake(*headers: tuple[bytes, bytes]) -> Headers:
    """Return the headers of a WebSocket handshake."""
    return [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        *headers,
    ]


def encode(value: object) -> bytes:
    """Return the URL-safe Base64 encoding of bytes, or of the JSON of any other value."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def sign(header: object, claims: object, secret: bytes, digest: str = "sha256") -> bytes:
    """Return a token that is signed with a secret, whatever its header says."""
    text = encode(header) + b"." + encode(claims)
    return text + b"." + encode(hmac.digest(secret, text, digest))


@dataclass(frozen=True)
class RSAKey:
    """A key pair. It is only good enough for tests."""

    n: int
    d: int
    e: int = 65537

    def jwk(self, kid: str) -> dict[str, str]:
        """Return the public key as an issuer publishes it."""
        numbers = {"n": self.n, "e": self.e}
        encoded = {
            name: encode(number.to_bytes((number.bit_length() + 7) // 8)).decode()
            for name, number in numbers.items()
        }
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, **encoded}

    def pem(self) -> bytes:
        """Return the public key in the format PEM. Source: RFC 8017, A.1.1"""

        def der(tag: int, content: bytes) -> bytes:
            size = len(content)
            length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2)
            return bytes([tag]) + length + content

        def integer(value: int) -> bytes:
            return der(2, value.to_bytes(value.bit_length() // 8 + 1))

        key = der(0x30, integer(self.n) + integer(self.e))
        algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
        info = base64.encodebytes(der(0x30, algorithm + der(3, b"\0" + key))).replace(b"\n", b"")
        lines = [info[i : i + 64] for i in range(0, len(info), 64)]
        return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----\n"])

    def sign(self, header: object, claims: object) -> bytes:
        """Return a token that is signed with this key. Source: RFC 8017, section 8.2.1"""
        text = encode(header) + b"." + encode(claims)
        info = bytes.fromhex("3031300d060960864801650304020105000420")
        info += hashlib.sha256(text).digest()
        size = (self.n.bit_length() + 7) // 8
        padded = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
        signature = pow(int.from_bytes(padded), self.d, self.n).to_bytes(size)
        return text + b"." + encode(signature)


def make_rsa_key() -> RSAKey:
    """Return a new key pair. This takes about a second."""
    p, q = prime(1024), prime(1024)
    return RSAKey(p * q, pow(65537, -1, (p - 1) * (q - 1)))


def prime(bits: int) -> int:
    """Return a number that is almost certainly prime."""
    while True:
        number = secrets.randbits(bits) | 3 << (bits - 2) | 1
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5)) and number % 65537 != 1:
            return number
