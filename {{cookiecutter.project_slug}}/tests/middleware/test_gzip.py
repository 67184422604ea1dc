import zlib
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app.config import Settings
from app.middleware import gzip
from tests.support import call_app


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    @app.get("/text/{size}")
    async def read_text(size: int) -> Response:
        return PlainTextResponse(b"x" * size)

    @app.get("/stream/{kind}")
    async def read_stream(kind: str) -> Response:
        def parts() -> Iterator[bytes]:
            yield b"data: 1\n\n"

        return StreamingResponse(parts(), media_type=f"text/{kind}")

    @app.get("/encoded")
    async def read_encoded() -> Response:
        return PlainTextResponse(b"x" * 1000, headers={"Content-Encoding": "identity"})

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
        ("/encoded", "gzip", "identity"),
    ],
)
def test_what_is_long_enough_is_compressed_for_who_accepts_it(
    path: str, accepted: str, expected: str | None, client: TestClient
) -> None:
    response = client.get(path, headers={"Accept-Encoding": accepted})
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == expected
    assert set(response.text) <= set("x" if "stream" not in path else "data: 1\n")


def test_caches_are_told_what_an_answer_depends_on(client: TestClient) -> None:
    for accepted in ("gzip", "identity"):
        response = client.get("/text/1000", headers={"Accept-Encoding": accepted})
        assert "Accept-Encoding" in response.headers["vary"]


def test_the_minimum_is_a_setting(make_client: Callable[..., TestClient]) -> None:
    response = make_client(gzip_minimum_size=1).get("/", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_a_minimum_below_nothing_is_refused(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(gzip_minimum_size=-1)


def test_the_level_is_6(
    make_settings: Callable[..., Settings],
) -> None:
    text = b"".join(b"%d" % (number**3) for number in range(3000))
    routes = [Route("/", PlainTextResponse(text))]
    app = Starlette(routes=routes, middleware=[gzip.layer(make_settings())])
    _, body = call_app(app, headers=[(b"accept-encoding", b"gzip")])
    assert body["body"] == zlib.compress(text, 6, wbits=31)
