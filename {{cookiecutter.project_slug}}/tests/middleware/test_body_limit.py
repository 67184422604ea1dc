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

from app.config import Settings
from app.middleware.body_limit import BodyLimitMiddleware
from tests.support import call_app

LIMIT = 10
PART: Message = {"type": "http.request", "body": b"12345", "more_body": True}
END: Message = {"type": "http.request"}


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    app = make_app(max_body_size=LIMIT)

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
    async def ignore() -> None: ...

    @app.post("/handle/{status}")
    async def handle(request: Request, status: int) -> Response:
        with suppress(Exception):
            await request.body()
        return Response(b"handled", status)

    return app


def statuses(sent: list[Message]) -> list[int]:
    return [message["status"] for message in sent if "status" in message]


def chunks(size: int) -> Iterator[bytes]:
    yield b" " * (size - 2)
    yield b"[]"


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
@pytest.mark.parametrize("path", ["/body", "/stream", "/json"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_the_limit_is_read_and_no_byte_more(
    declared: bool, path: str, size: int, client: TestClient
) -> None:
    content = b"".join(chunks(size)) if declared else chunks(size)
    response = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert ("content-length" in response.request.headers) == declared
    assert response.status_code == (200 if size == LIMIT else 413)


def test_a_body_is_counted_over_all_its_parts(app: FastAPI) -> None:
    post: dict[str, Any] = {"method": "POST", "path": "/stream"}
    assert statuses(call_app(app, PART, PART, END, **post)) == [200]
    assert statuses(call_app(app, PART, PART, PART, END, **post)) == [413]


def test_a_declared_length_is_refused_before_the_application_runs(client: TestClient) -> None:
    response = client.post("/ignore", headers={"Content-Length": str(LIMIT + 1)})
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "content_too_large"


def test_a_body_that_nobody_reads_does_not_change_the_answer(client: TestClient) -> None:
    assert client.post("/ignore", content=chunks(100)).status_code == 200


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (400, 413), (500, 413)])
def test_a_route_that_handles_the_exception_may_only_succeed(
    status: int,
    expected: int,
    app: FastAPI,
) -> None:
    sent = call_app(app, PART, PART, PART, method="POST", path=f"/handle/{status}")
    assert statuses(sent) == [expected]


@pytest.mark.parametrize(("parts", "expected"), [(2, []), (3, [413])])
def test_a_group_of_exceptions_is_a_refusal_only_above_the_limit(
    parts: int,
    expected: list[int],
) -> None:
    async def read_in_group(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group():
            for _ in range(parts):
                await receive()
            raise RuntimeError

    sent: list[Message] = []
    with suppress(ExceptionGroup):
        app = BodyLimitMiddleware(read_in_group, max_body_size=LIMIT)
        call_app(app, *[PART] * parts, sent=sent)
    assert statuses(sent) == expected


def test_an_answer_that_has_begun_is_not_followed_by_another() -> None:
    async def begin(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await receive()

    sent: list[Message] = []
    with pytest.raises(HTTPException):
        call_app(BodyLimitMiddleware(begin, max_body_size=0), PART, sent=sent)
    assert statuses(sent) == [200]


@pytest.mark.parametrize(("content", "status"), [(b"", 200), (b"1", 413)])
def test_a_limit_of_nothing_allows_no_byte(
    content: bytes, status: int, make_client: Callable[..., TestClient]
) -> None:
    client = make_client(max_body_size=0)
    assert client.request("GET", "/", content=content).status_code == status


def test_a_limit_below_nothing_is_refused(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError):
        make_settings(max_body_size=-1)


def test_messages_of_a_websocket_are_not_limited(app: FastAPI, client: TestClient) -> None:
    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    with client.websocket_connect("/echo") as socket:
        socket.send_text("x" * 100)
        assert socket.receive_text() == "x" * 100
