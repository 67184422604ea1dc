"""Compress response bodies for clients that accept gzip."""

import re
from typing import NamedTuple

from pydantic import Field
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.settings import CoreSettings

# Starlette's default, 9, takes far more time and saves only a few bytes.
COMPRESSION_LEVEL = 6

VARY = (b"vary", b"Accept-Encoding")
# Digests of the bytes that are sent (RFC 9530 and RFC 3230). Compression would make them wrong.
DIGESTS = frozenset({b"content-digest", b"repr-digest", b"digest", b"content-md5"})

_parse_coding = re.compile(r"\s*([^\s;,]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?").fullmatch


class GZipSettings(CoreSettings):
    """`GZIP_MINIMUM_SIZE` (1000): response bodies of fewer bytes are not compressed."""

    gzip_minimum_size: int = Field(default=1000, ge=0)


class Accepted(NamedTuple):
    """The content codings that a client accepts."""

    gzip: bool
    identity: bool


class GZipMiddleware:
    """Compresses response bodies of at least `minimum_size` bytes if the client accepts gzip.

    Starlette compresses; this class negotiates, and corrects the metadata. A compressed response
    has a weak ETag, because the strong one identifies the uncompressed bytes, and no Accept-Ranges,
    because ranges count those bytes too. A client that rejects `identity` gets a smaller body
    compressed as well. A response with `Cache-Control: no-transform` or a digest of its bytes is
    sent as it is. Source: RFC 9110, sections 8.8.3, 12.5.3, 14.3 and 15.4.5
    """

    def __init__(self, app: ASGIApp, *, minimum_size: int) -> None:
        self.app = app
        self.minimum_size = minimum_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        forward = send

        async def send_with_compression(message: Message) -> None:
            nonlocal forward
            if message["type"] == "http.response.start":
                forward = self.select(scope, message, send)
            await forward(message)

        await self.app(scope, receive, send_with_compression)

    def select(self, scope: Scope, start: Message, send: Send) -> Send:
        """Return the function that sends this response: as it is, or compressed."""
        headers = list(start.get("headers", ()))
        size: int | None = None
        for name, value in headers:
            if name == b"content-length":
                size = int(value)
            elif (
                name == b"content-encoding"
                or name in DIGESTS
                or (name == b"cache-control" and b"no-transform" in value.lower())
            ):
                return send
        if size == 0:
            return send

        accepted = parse_accept_encoding(_values(scope, b"accept-encoding"))
        minimum_size = self.minimum_size if accepted.identity else 1
        start["headers"] = headers
        if start["status"] == 304:
            _weaken_known_etag(scope, headers)
        elif accepted.gzip and (size is None or size >= minimum_size):
            return self.compress(send, minimum_size, is_head=scope["method"] == "HEAD")
        headers.append(VARY)
        return send

    def compress(self, send: Send, minimum_size: int, *, is_head: bool) -> Send:
        """Return Starlette's responder for `send`, which gets corrected headers."""

        async def send_corrected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                is_sent_as_it_is = responder.partial_response or responder.content_type_is_excluded
                if is_head and "content-encoding" not in headers and not is_sent_as_it_is:
                    _describe_get(headers)
                if "content-encoding" in headers:
                    _weaken_etag(headers)
                    del headers["accept-ranges"]
                else:
                    headers.add_vary_header("Accept-Encoding")
            await send(message)

        responder = GZipResponder(self.app, minimum_size, COMPRESSION_LEVEL)
        responder.send = send_corrected
        return responder.send_with_compression


def layer(settings: GZipSettings) -> Middleware:
    """Compress response bodies of at least `GZIP_MINIMUM_SIZE` bytes."""
    return Middleware(GZipMiddleware, minimum_size=settings.gzip_minimum_size)


def parse_accept_encoding(value: str) -> Accepted:
    """Parse an Accept-Encoding header. Items that are not valid are ignored."""
    weights: dict[str, float] = {}
    for item in value.lower().split(","):
        if match := _parse_coding(item):
            weights[match[1]] = float(match[2] or 1)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return Accepted(
        gzip=gzip > 0 and gzip >= weights.get("identity", 0),
        identity=weights.get("identity", weights.get("*", 1)) > 0,
    )


def _values(scope: Scope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def _describe_get(headers: MutableHeaders) -> None:
    # A response to HEAD may come without a body, so there was nothing to compress. Its headers are
    # those of the response to GET, except for the size, which is unknown.
    if "content-length" in headers:
        headers["content-encoding"] = "gzip"
        headers.add_vary_header("Accept-Encoding")
        del headers["content-length"]


def _weaken_etag(headers: MutableHeaders) -> None:
    etag = headers.get("etag", "")
    if etag.startswith('"'):
        headers["etag"] = f"W/{etag}"


def _weaken_known_etag(scope: Scope, raw: list[tuple[bytes, bytes]]) -> None:
    # The client has the compressed response, and a 304 has the ETag of the stored one.
    headers = MutableHeaders(raw=raw)
    etag = f"W/{headers.get('etag')}"
    if etag in _values(scope, b"if-none-match"):
        headers["etag"] = etag
