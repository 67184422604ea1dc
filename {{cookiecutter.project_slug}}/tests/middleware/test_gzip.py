import zlib
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from app.core.config import Settings
from app.middleware import gzip

MINIMUM = 1000
NUMBERS = b" ".join(b"%d" % number for number in range(1000))


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    @app.get("/text/{size}")
    async def read_text(size: int) -> Response:
        return PlainTextResponse(b"x" * size)

    @app.get("/stream/{kind}")
    async def read_stream(kind: str) -> Response:
        def events() -> Iterator[bytes]:
            yield b"data: 1\n\n"
            yield b"data: 2\n\n"

        return StreamingResponse(events(), media_type=f"text/{kind}")

    @app.get("/encoded")
    async def read_encoded() -> Response:
        return PlainTextResponse(b"x" * MINIMUM, headers={"Content-Encoding": "identity"})

    return app


@pytest.mark.parametrize(
    ("size", "expected"), [(0, None), (MINIMUM - 1, None), (MINIMUM, "gzip"), (200_000, "gzip")]
)
def test_a_body_is_compressed_from_the_minimum_on(
    size: int, expected: str | None, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(app).get(f"/text/{size}", headers={"Accept-Encoding": "br, gzip"})
    assert response.headers.get("content-encoding") == expected
    assert response.content == b"x" * size


@pytest.mark.parametrize("accepted", ["", "identity", "br"])
def test_a_client_that_does_not_accept_it_gets_the_body_as_it_is(
    accepted: str, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(app).get(f"/text/{MINIMUM}", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in response.headers
    assert "Accept-Encoding" in response.headers["vary"]
    assert response.content == b"x" * MINIMUM


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/stream/plain", "gzip"), ("/stream/event-stream", None), ("/encoded", "identity")],
)
def test_events_and_what_is_encoded_are_left_alone(
    path: str, expected: str | None, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(app).get(path, headers={"Accept-Encoding": "gzip"})
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == expected


def test_the_minimum_is_a_setting(make_client: Callable[..., TestClient]) -> None:
    response = make_client(gzip_minimum_size=1).get("/", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_the_level_is_6(
    make_settings: Callable[..., Settings], exchange: Callable[..., list[Message]]
) -> None:
    routes = [Route("/", PlainTextResponse(NUMBERS))]
    app = Starlette(routes=routes, middleware=[gzip.layer(make_settings())])
    _, body = exchange(app, headers=[(b"accept-encoding", b"gzip")])
    assert body["body"] == zlib.compress(NUMBERS, 6, wbits=31)


def test_a_minimum_below_nothing_is_refused(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(gzip_minimum_size=-1)
