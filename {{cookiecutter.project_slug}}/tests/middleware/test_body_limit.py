from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Body, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.core.config import Settings
from app.factory import create_app
from app.middleware.body_limit import BodyLimitMiddleware

LIMIT = 10


@pytest.fixture
def app(make_settings: Callable[..., Settings]) -> FastAPI:
    app = create_app(make_settings(max_body_size=LIMIT))

    @app.post("/body")
    async def read_body(request: Request) -> int:
        return len(await request.body())

    @app.post("/stream")
    async def read_stream(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.post("/json")
    async def read_json(items: Annotated[list[int], Body()]) -> int:
        return len(items)

    @app.post("/ignore")
    async def ignore() -> int:
        return 0

    return app


def chunks(size: int) -> Iterator[bytes]:
    yield b" " * (size - 2)
    yield b"[]"


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
@pytest.mark.parametrize("path", ["/body", "/stream", "/json"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_the_limit_is_read_and_no_byte_more(
    declared: bool, path: str, size: int, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    content = b"".join(chunks(size)) if declared else chunks(size)
    headers = {"Content-Type": "application/json"}
    response = make_client(app).post(path, content=content, headers=headers)
    assert response.request.headers.get("content-length") == (str(size) if declared else None)
    assert response.status_code == (200 if size == LIMIT else 413)


def test_a_body_is_counted_over_all_its_parts(
    app: FastAPI, exchange: Callable[..., list[Message]]
) -> None:
    part = {"type": "http.request", "body": b"123", "more_body": True}
    end = {"type": "http.request"}
    post = {"method": "POST", "path": "/stream"}
    assert exchange(app, part, part, part, end, **post)[0]["status"] == 200
    assert exchange(app, part, part, part, part, end, **post)[0]["status"] == 413


def test_a_declared_length_is_refused_before_the_application_runs(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    ran = []

    @app.post("/run")
    async def run() -> None:
        ran.append(True)

    response = make_client(app).post("/run", headers={"Content-Length": str(LIMIT + 1)})
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "content_too_large"
    assert not ran


def test_a_body_that_nobody_reads_does_not_change_the_answer(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(app).post("/ignore", content=chunks(100))
    assert response.status_code == 200
    assert response.json() == 0


def test_an_answer_that_has_begun_is_not_followed_by_another(
    exchange: Callable[..., list[Message]],
) -> None:
    async def begin(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await receive()

    sent: list[Message] = []
    body = {"type": "http.request", "body": b"1" * 11}
    with pytest.raises(HTTPException):
        exchange(BodyLimitMiddleware(begin, max_body_size=LIMIT), body, sent=sent)
    assert sent == [{"type": "http.response.start", "status": 200}]


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (400, 413), (500, 413)])
def test_a_route_that_handles_the_refusal_answers_it_or_succeeds(
    status: int, expected: int, app: FastAPI, exchange: Callable[..., list[Message]]
) -> None:
    @app.post("/handle")
    async def handle(request: Request) -> Response:
        with suppress(Exception):
            await request.body()
        return Response(b"handled", status)

    body = {"type": "http.request", "body": b"1" * 11}
    sent = exchange(app, body, method="POST", path="/handle")
    assert [message["status"] for message in sent if "status" in message] == [expected]


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_a_group_of_exceptions_is_a_refusal_only_above_the_limit(
    size: int, exchange: Callable[..., list[Message]]
) -> None:
    async def read_in_group(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group():
            await receive()
            raise RuntimeError

    layer = BodyLimitMiddleware(read_in_group, max_body_size=LIMIT)
    body = {"type": "http.request", "body": b"1" * size}
    sent: list[Message] = []
    with suppress(ExceptionGroup):
        exchange(layer, body, sent=sent)
    assert [message["status"] for message in sent if "status" in message] == [413] * (size > LIMIT)


@pytest.mark.parametrize(("content", "status"), [(b"", 200), (b"1", 413)])
def test_a_limit_of_nothing_allows_no_byte(
    content: bytes, status: int, make_client: Callable[..., TestClient]
) -> None:
    response = make_client(max_body_size=0).request("GET", "/", content=content)
    assert response.status_code == status


def test_a_limit_below_nothing_is_refused(make_settings: Callable[..., Any]) -> None:
    with pytest.raises(ValidationError):
        make_settings(max_body_size=-1)


def test_messages_of_a_websocket_are_not_limited(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    with make_client(app).websocket_connect("/echo") as socket:
        socket.send_text("x" * 100)
        assert socket.receive_text() == "x" * 100
