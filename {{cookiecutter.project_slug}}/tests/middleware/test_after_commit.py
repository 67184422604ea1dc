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
    """An application that adds callbacks to each request, and records the order of events."""

    def __init__(self, status: int = 200, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.status = status
        self.error = error
        self.callbacks: list[Callable[[], Any]] = [self.callback, self.callback]

    async def callback(self) -> None:
        self.events.append("callback")

    async def fail(self) -> None:
        raise ConnectionError("secret")

    async def respond(self, request: Request) -> PlainTextResponse:
        request.state.after_commit.extend(self.callbacks)
        if self.error:
            raise self.error
        return PlainTextResponse("fine", self.status)

    def commit_around(self, app: ASGIApp, fails: bool = False) -> ASGIApp:
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
        app = Starlette(routes=[Route("/", self.respond)])
        inner = AfterCommitMiddleware(self.commit_around(app, fails))

        async def observe(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_record(message: Message) -> None:
                self.events.append(message["type"])
                await send(message)

            await inner(scope, receive, send_and_record)

        return TestClient(observe, raise_server_exceptions=False)


@pytest.mark.parametrize("status", [200, 202, 303])
def test_callbacks_run_after_the_commit_and_before_the_response(status: int) -> None:
    recorder = Recorder(status)
    assert recorder.client().get("/", follow_redirects=False).status_code == status
    assert recorder.events == [
        "commit",
        "callback",
        "callback",
        "http.response.start",
        "http.response.body",
    ]


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_callbacks_do_not_run_for_an_error(status: int) -> None:
    recorder = Recorder(status)
    assert recorder.client().get("/").status_code == status
    assert "callback" not in recorder.events


def test_callbacks_do_not_run_after_an_exception() -> None:
    recorder = Recorder(error=ZeroDivisionError())
    assert recorder.client().get("/").status_code == 500
    assert "callback" not in recorder.events


def test_callbacks_do_not_run_if_the_commit_fails() -> None:
    recorder = Recorder()
    assert recorder.client(fails=True).get("/").status_code == 500
    assert recorder.events == []


def test_a_failing_callback_turns_the_response_into_a_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(202)
    recorder.callbacks = [recorder.fail, recorder.callback]
    response = recorder.client().get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json()["error"]["type"] == "service_unavailable"
    assert recorder.events == ["commit", "http.response.start", "http.response.body"]
    assert "secret" in caplog.text


def test_a_slow_callback_turns_the_response_into_a_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(after_commit, "TIMEOUT", 0)
    recorder = Recorder(202)
    recorder.callbacks = [anyio.sleep_forever]
    assert recorder.client().get("/").status_code == 503


def test_each_request_has_its_own_callbacks() -> None:
    recorder = Recorder()
    client = recorder.client()
    client.get("/")
    client.get("/")
    assert recorder.events.count("callback") == 4


def test_callbacks_run_once_for_a_streaming_response() -> None:
    recorder = Recorder()

    async def stream(request: Request) -> StreamingResponse:
        request.state.after_commit.append(recorder.callback)
        return StreamingResponse(iter(["one", "two"]))

    client = TestClient(AfterCommitMiddleware(Starlette(routes=[Route("/", stream)])))
    assert client.get("/").text == "onetwo"
    assert recorder.events == ["callback"]


def test_websockets_are_not_affected() -> None:
    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = AfterCommitMiddleware(Starlette(routes=[WebSocketRoute("/", greet)]))
    with TestClient(app).websocket_connect("/") as websocket:
        assert websocket.receive_text() == "hello"
