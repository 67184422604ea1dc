import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.config import Settings
from app.middleware import gzip
from tests.support import call_app

ETAG = '"v1"'
METADATA = [
    "accept-ranges",
    "content-encoding",
    "content-length",
    "content-type",
    "etag",
    "last-modified",
    "vary",
]


@pytest.fixture
def app(app: FastAPI, tmp_path: Path) -> FastAPI:
    @app.api_route("/text/{size}", methods=["GET", "HEAD"])
    async def read_text(size: int) -> Response:
        return PlainTextResponse(b"x" * size, headers={"ETag": ETAG})

    @app.get("/stream/{kind}")
    async def read_stream(kind: str) -> Response:
        def parts() -> Iterator[bytes]:
            yield b"data: 1\n\n"

        return StreamingResponse(parts(), media_type=f"text/{kind}")

    @app.get("/header/{name}/{value}")
    async def read_with_header(name: str, value: str) -> Response:
        return PlainTextResponse(b"x" * 1000, headers={name: value, "ETag": ETAG})

    for name in ("large.txt", "large.png"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    (tmp_path / "small.txt").write_bytes(b"x" * 10)
    app.mount("/static", StaticFiles(directory=tmp_path))
    return app


@pytest.mark.parametrize(
    ("path", "accepted", "expected"),
    [
        ("/text/0", "gzip", None),
        ("/text/999", "gzip", None),
        ("/text/1000", "gzip", "gzip"),
        ("/text/200000", "br, gzip", "gzip"),
        ("/text/1000", "", None),
        ("/text/1000", "identity", None),
        ("/text/1000", "br", None),
        ("/stream/plain", "gzip", "gzip"),
        ("/stream/event-stream", "gzip", None),
        ("/header/content-encoding/identity", "gzip", "identity"),
        ("/header/cache-control/max-age=1, No-Transform", "gzip", None),
        ("/header/content-digest/sha-256=:RBNvo1WzZ4oRRq0W9=:", "gzip", None),
        ("/static/large.txt", "gzip", "gzip"),
        ("/static/large.png", "gzip", None),
        ("/static/small.txt", "gzip", None),
    ],
)
def test_a_large_body_is_compressed_for_clients_that_accept_it(
    path: str, accepted: str, expected: str | None, client: TestClient
) -> None:
    response = client.get(path, headers={"Accept-Encoding": accepted})
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == expected
    assert set(response.text) <= set("x" if "stream" not in path else "data: 1\n")


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("gzip ; q=0.001", True),
        ("gzip, identity;q=0", True),
        ("identity;q=0.5, gzip", True),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("*;q=0.5, gzip;q=0.0", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("GZip;Q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=no", False),
        ("gzip;level=9", False),
        ("gzipped", False),
        ("not-gzip", False),
        ("identity;q=0", False),
        (",;=", False),
    ],
)
def test_codings_are_negotiated_by_their_weights(
    accepted: str, is_compressed: bool, client: TestClient
) -> None:
    headers = client.get("/text/1000", headers={"Accept-Encoding": accepted}).headers
    assert (headers.get("content-encoding") == "gzip") is is_compressed


def test_codings_in_several_headers_are_one_list() -> None:
    routes = [Route("/", PlainTextResponse(b"x" * 1000))]
    app = gzip.GZipMiddleware(Starlette(routes=routes), minimum_size=1000)
    headers = [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]
    assert (b"content-encoding", b"gzip") in call_app(app, headers=headers)[0]["headers"]
    start, _ = call_app(app, headers=[*headers, (b"accept-encoding", b"gzip;q=0")])
    assert b"content-encoding" not in dict(start["headers"])


@pytest.mark.parametrize(
    ("path", "accepted", "expected"),
    [
        ("/text/1", "gzip, identity;q=0", "gzip"),
        ("/text/1", "gzip, *;q=0", "gzip"),
        ("/text/1", "identity;q=0", None),
        ("/text/0", "gzip, identity;q=0", None),
    ],
)
def test_a_small_body_is_compressed_for_clients_that_reject_all_else(
    path: str, accepted: str, expected: str | None, client: TestClient
) -> None:
    response = client.get(path, headers={"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == expected
    assert set(response.text) <= {"x"}


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
@pytest.mark.parametrize(
    "path", ["/text/1", "/text/1000", "/stream/plain", "/static/large.txt", "/static/small.txt"]
)
def test_caches_are_told_once_what_a_response_depends_on(
    path: str, accepted: str, client: TestClient
) -> None:
    for method in ("HEAD", "GET") if "stream" not in path else ("GET",):
        response = client.request(method, path, headers={"Accept-Encoding": accepted})
        assert response.headers["vary"].split(", ").count("Accept-Encoding") == 1


@pytest.mark.parametrize("name", ["etag", "last-modified"])
@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_a_client_revalidates_what_it_has(name: str, accepted: str, client: TestClient) -> None:
    headers = {"Accept-Encoding": accepted}
    full = client.get("/static/large.txt", headers=headers)
    assert full.headers["etag"].startswith('W/"' if accepted == "gzip" else '"')
    condition = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}[name]
    response = client.get("/static/large.txt", headers={**headers, condition: full.headers[name]})
    assert response.status_code == 304
    assert "content-encoding" not in response.headers
    assert "Accept-Encoding" in response.headers["vary"]
    if name == "etag":
        assert response.headers["etag"] == full.headers["etag"]


@pytest.mark.parametrize(
    ("etag", "accepted", "expected"),
    [
        ('"a"', "gzip", 'W/"a"'),
        ('W/"a"', "gzip", 'W/"a"'),
        ('"a"', "identity", '"a"'),
        ('W/"a"', "identity", 'W/"a"'),
    ],
)
def test_a_compressed_response_has_a_weak_validator(
    etag: str, accepted: str, expected: str, app: FastAPI, client: TestClient
) -> None:
    @app.get("/tagged")
    async def read() -> Response:
        return PlainTextResponse(b"x" * 1000, headers={"ETag": etag})

    assert client.get("/tagged", headers={"Accept-Encoding": accepted}).headers["etag"] == expected


def test_a_range_is_one_of_the_uncompressed_bytes(client: TestClient) -> None:
    path, accepted = "/static/large.txt", {"Accept-Encoding": "gzip"}
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert plain.headers["accept-ranges"] == "bytes"
    compressed = client.get(path, headers=accepted)
    # A client that continued it by a range would mix both.
    assert "accept-ranges" not in compressed.headers
    conditional = {**accepted, "Range": "bytes=50-", "If-Range": compressed.headers["etag"]}
    assert client.get(path, headers=conditional).status_code == 200
    part = client.get(path, headers={**accepted, "Range": "bytes=99998-"})
    assert (part.status_code, part.content) == (206, b"xx")
    assert part.headers["etag"] == plain.headers["etag"]
    assert part.headers["content-range"] == "bytes 99998-99999/100000"
    assert "content-encoding" not in part.headers
    assert "Accept-Encoding" in part.headers["vary"]


@pytest.mark.parametrize("accepted", ["gzip", "identity", "gzip, identity;q=0"])
@pytest.mark.parametrize(
    "path",
    [
        "/text/10",
        "/text/1000",
        "/static/large.txt",
        "/static/large.png",
        "/static/small.txt",
        "/healthz",
    ],
)
def test_head_has_the_headers_of_get_and_no_body(
    path: str, accepted: str, client: TestClient
) -> None:
    get, head = (
        client.request(method, path, headers={"Accept-Encoding": accepted})
        for method in ("GET", "HEAD")
    )
    assert (head.status_code, head.content) == (200, b"")
    expected, actual = (
        {name: response.headers.get(name) for name in METADATA} for response in (get, head)
    )
    if "static" in path and expected["content-encoding"]:
        # The size of the compressed body, which is not made: RFC 9110, section 9.3.2
        expected["content-length"] = None
    assert actual == expected


def test_head_of_unknown_size_does_not_promise_a_coding() -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    app = gzip.GZipMiddleware(respond, minimum_size=1000)
    start, _ = call_app(app, method="HEAD", headers=[(b"accept-encoding", b"gzip")])
    assert start["headers"] == [(b"vary", b"Accept-Encoding")]


def test_the_minimum_is_a_setting(make_client: Callable[..., TestClient]) -> None:
    response = make_client(gzip_minimum_size=1).get("/", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_a_minimum_below_nothing_is_rejected(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(gzip_minimum_size=-1)


def test_the_level_is_6(make_settings: Callable[..., Settings]) -> None:
    text = b"".join(b"%d" % (number**3) for number in range(3000))
    routes = [Route("/", PlainTextResponse(text))]
    app = Starlette(routes=routes, middleware=[gzip.layer(make_settings())])
    _, body = call_app(app, headers=[(b"accept-encoding", b"gzip")])
    assert body["body"] == zlib.compress(text, 6, wbits=31)
