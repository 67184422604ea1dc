from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import anyio
import pytest
from fastapi import APIRouter, Body, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from app.config import Settings
from app.core import errors
from app.middleware import body_limit
from app.middleware.body_limit import BodyLimitMiddleware
from tests.support import HEADERS, call_app

LIMIT = 10
LIMITS = {"larger": 20, "smaller": 5, "none": None}
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

    @app.post("/own")
    async def reject() -> None:
        raise HTTPException(413, "The picture is too large")

    return app


def headers(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    credentials = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return [(b"host", b"testserver"), *credentials, *more]


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


def test_a_declared_length_is_rejected_before_the_application_runs(client: TestClient) -> None:
    response = client.post("/ignore", headers={"Content-Length": str(LIMIT + 1)})
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "content_too_large"


@pytest.mark.parametrize(("version", "expected"), [("1.0", "close"), ("1.1", "close"), ("2", None)])
@pytest.mark.parametrize("path", ["/ignore", "/body", "/own"])
def test_a_rejection_closes_the_connection(
    path: str, version: str, expected: str | None, app: FastAPI
) -> None:
    declared = [(b"content-length", b"11")] if path == "/ignore" else []
    scope: Scope = {"method": "POST", "path": path, "http_version": version}
    sent = call_app(app, PART, PART, PART, END, headers=headers(*declared), **scope)
    assert statuses(sent) == [413]
    assert dict(sent[0]["headers"]).get(b"connection", b"").decode() == (expected or "")


@pytest.mark.parametrize(
    ("declared", "messages", "rest"),
    [
        (15, [PART, PART, PART, END, PART], 1),
        (15, [PART, {"type": "http.disconnect"}, PART], 1),
        (None, [PART, PART, PART, PART, PART, END, PART], 1),
        (None, [PART, PART, {**PART, "more_body": False}, PART], 1),
    ],
)
def test_the_rest_of_a_rejected_body_is_received_before_the_connection_closes(
    declared: int | None, messages: list[Message], rest: int, app: FastAPI
) -> None:
    remaining = iter(messages)

    async def over_messages(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_next() -> Message:
            return next(remaining)

        async def send_checked(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                assert len(list(remaining)) == rest

        await app(scope, receive_next, send_checked)

    sent: list[Message] = []
    length = [(b"content-length", b"%d" % declared)] if declared else []
    call_app(over_messages, method="POST", path="/body", headers=headers(*length))
    assert statuses(sent) == [413]
    assert b"Content Too Large" in sent[1]["body"]


def test_the_body_of_a_request_that_fails_is_received_before_the_response(app: FastAPI) -> None:
    messages = iter([PART, END])

    async def over_messages(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_next() -> Message:
            return next(messages)

        async def send_checked(message: Message) -> None:
            sent.append(message)
            assert list(messages) == []

        await app(scope, receive_next, send_checked)

    sent: list[Message] = []
    with pytest.raises(ValueError, match="secret"):
        call_app(over_messages, path="/fails", headers=headers())
    assert statuses(sent) == [500]


@pytest.mark.parametrize("path", ["/body", "/nowhere"])
def test_a_body_that_does_not_come_is_not_waited_for_long(
    path: str, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_body(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, wait, send)

    async def wait() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(body_limit, "DISCARD_TIMEOUT", 0.05)
    sent: list[Message] = []
    scope: Scope = {"method": "POST", "path": path}
    call_app(without_body, sent=sent, headers=headers((b"content-length", b"11")), **scope)
    assert statuses(sent) == [413]


@pytest.mark.parametrize("length", [1, 11])
@pytest.mark.parametrize("path", ["/nowhere", "/ignore"])
def test_a_response_instead_of_100_continue_closes_the_connection(
    length: int, path: str, app: FastAPI
) -> None:
    async def without_body(scope: Scope, receive: Receive, send: Send) -> None:
        # To receive would send 100 Continue.
        await app(scope, call_nothing, send)

    async def call_nothing() -> Message:
        raise AssertionError

    sent: list[Message] = []
    expect = headers((b"content-length", b"%d" % length), (b"expect", b"100-Continue"))
    call_app(without_body, sent=sent, method="POST", path=path, headers=expect)
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
    assert len(statuses(sent)) == 1


def test_a_response_after_100_continue_keeps_the_connection(app: FastAPI) -> None:
    expect = headers((b"expect", b"100-continue"))
    sent = call_app(app, PART, END, method="POST", path="/body", headers=expect)
    assert statuses(sent) == [200]
    assert b"connection" not in dict(sent[0]["headers"])


def test_a_rejection_of_a_route_keeps_its_message(client: TestClient) -> None:
    error = client.post("/own").json()["error"]
    assert (error["code"], error["message"]) == (413, "The picture is too large")


# The limits of routes


@pytest.fixture
def limited(app: FastAPI) -> FastAPI:
    """The application with limits that are larger and smaller than its own, in several places."""

    async def read(request: Request) -> int:
        return len(await request.body())

    async def respond(request: Request) -> Response:
        return Response(b"x" * await read(request))

    async def ignore() -> None: ...

    def own_router() -> APIRouter:
        router = APIRouter()
        router.post("/read")(read)
        return router

    for name, size in LIMITS.items():
        app.post(f"/{name}/read", max_body_size=size)(read)
        app.post(f"/{name}/ignore", max_body_size=size)(ignore)
        app.include_router(own_router(), prefix=f"/{name}/router", max_body_size=size)
        application, other = FastAPI(max_body_size=size), FastAPI()
        application.include_router(own_router())
        other.post("/read", max_body_size=size)(read)
        starlette = Starlette(routes=[Route("/read", respond, methods=["POST"])])
        for mounted in (application, other, starlette):
            errors.set_up(mounted)
        app.mount(f"/{name}/application", application)
        app.mount(f"/{name}/route", other)
        app.routes.append(Mount(f"/{name}/starlette", starlette, max_body_size=size))
    return app


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("place", ["", "/router", "/application", "/route", "/starlette"])
@pytest.mark.parametrize(("name", "limit"), [("larger", 20), ("smaller", 5), ("none", LIMIT)])
def test_the_limit_of_a_route_wins(
    name: str, limit: int, place: str, is_declared: bool, limited: FastAPI, client: TestClient
) -> None:
    for size, status in ((limit, 200), (limit + 1, 413)):
        content = b"".join(chunks(size)) if is_declared else chunks(size)
        response = client.post(f"/{name}{place}/read", content=content)
        assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["message"] == "Content Too Large"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(("name", "limit"), [("larger", 20), ("smaller", 5), ("none", LIMIT)])
def test_the_limit_of_a_route_that_reads_nothing_is_that_of_the_declared_length(
    name: str, limit: int, limited: FastAPI, client: TestClient
) -> None:
    for size, status in ((limit, 200), (limit + 1, 413)):
        assert client.post(f"/{name}/ignore", content=b"x" * size).status_code == status
        assert client.post(f"/{name}/ignore", content=chunks(size)).status_code == 200


def test_a_path_without_a_route_has_the_limit_of_the_service(
    limited: FastAPI, client: TestClient
) -> None:
    for method, path in (("POST", "/nowhere"), ("PUT", "/larger/read"), ("POST", "/larger/route")):
        assert client.request(method, path, content=b"x" * 11).status_code == 413
        assert client.request(method, path, content=b"x" * 10).status_code in (404, 405)


def test_an_unread_body_does_not_change_the_response(client: TestClient) -> None:
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


def test_a_response_that_has_started_is_not_followed_by_another() -> None:
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


def test_a_limit_below_nothing_is_rejected(make_settings: Callable[..., Settings]) -> None:
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
