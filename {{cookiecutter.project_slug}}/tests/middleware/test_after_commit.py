from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from app.middleware import after_commit
from app.middleware.after_commit import AfterCommitMiddleware


class Recorder:
    """An application whose requests leave something to do, and what happened in which order."""

    def __init__(self, status: int = 200, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.status = status
        self.error = error
        self.calls: list[Callable[[], Any]] = [self.call, self.call]

    async def call(self) -> None:
        self.events.append("call")

    async def fail(self) -> None:
        raise ConnectionError("secret")

    async def answer(self, request: Request) -> PlainTextResponse:
        request.state.after_commit.extend(self.calls)
        if self.error:
            raise self.error
        return PlainTextResponse("fine", self.status)

    def committing(self, app: ASGIApp, fails: bool = False) -> ASGIApp:
        async def commit(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_after_commit(message: Message) -> None:
                if message["type"] == "http.response.start":
                    if fails:
                        raise ConnectionError("the commit failed")
                    self.events.append("commit")
                await send(message)

            await app(scope, receive, send_after_commit)

        return commit

    def client(self, fails: bool = False) -> TestClient:
        app = Starlette(routes=[Route("/", self.answer)])
        inner = AfterCommitMiddleware(self.committing(app, fails))

        async def observe(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_record(message: Message) -> None:
                self.events.append(message["type"])
                await send(message)

            await inner(scope, receive, send_and_record)

        return TestClient(observe, raise_server_exceptions=False)


@pytest.mark.parametrize("status", [200, 202, 303])
def test_calls_come_after_the_commit_and_before_the_answer(status: int) -> None:
    recorder = Recorder(status)
    assert recorder.client().get("/", follow_redirects=False).status_code == status
    assert recorder.events == [
        "commit",
        "call",
        "call",
        "http.response.start",
        "http.response.body",
    ]


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_an_error_calls_nothing(status: int) -> None:
    recorder = Recorder(status)
    assert recorder.client().get("/").status_code == status
    assert "call" not in recorder.events


def test_an_exception_calls_nothing() -> None:
    recorder = Recorder(error=ZeroDivisionError())
    assert recorder.client().get("/").status_code == 500
    assert "call" not in recorder.events


def test_a_commit_that_fails_calls_nothing() -> None:
    recorder = Recorder()
    assert recorder.client(fails=True).get("/").status_code == 500
    assert recorder.events == []


def test_a_call_that_fails_takes_the_success_back(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(202)
    recorder.calls = [recorder.fail, recorder.call]
    response = recorder.client().get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json()["error"]["type"] == "service_unavailable"
    assert recorder.events == ["commit", "http.response.start", "http.response.body"]
    assert "secret" in caplog.text


def test_a_call_that_takes_too_long_takes_the_success_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(after_commit, "TIMEOUT", 0)
    recorder = Recorder(202)
    recorder.calls = [anyio.sleep_forever]
    assert recorder.client().get("/").status_code == 503


def test_each_request_has_calls_of_its_own() -> None:
    recorder = Recorder()
    client = recorder.client()
    client.get("/")
    client.get("/")
    assert recorder.events.count("call") == 4


def test_a_stream_is_called_once() -> None:
    recorder = Recorder()

    async def stream(request: Request) -> StreamingResponse:
        request.state.after_commit.append(recorder.call)
        return StreamingResponse(iter(["one", "two"]))

    client = TestClient(AfterCommitMiddleware(Starlette(routes=[Route("/", stream)])))
    assert client.get("/").text == "onetwo"
    assert recorder.events == ["call"]


def test_a_websocket_passes() -> None:
    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = AfterCommitMiddleware(Starlette(routes=[WebSocketRoute("/", greet)]))
    with TestClient(app).websocket_connect("/") as websocket:
        assert websocket.receive_text() == "hello"
