import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from httpx2 import Response
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.middleware import request_logging
from app.middleware.request_logging import RequestLoggingMiddleware

Entries = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger("tests")


@pytest.fixture
def entries(log: Entries) -> Entries:
    """Return the records of requests."""
    return lambda: [entry for entry in log() if entry["logger"] == request_logging.__name__]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"a"], "a"),
        ([b"Az09._-"], "Az09._-"),
        ([b"x" * 128], "x" * 128),
        ([b"first", b"second"], "first"),
        ([b"not valid", b"second"], "second"),
        ([], None),
        ([b""], None),
        ([b" a"], None),
        ([b"a b"], None),
        ([b"a\n"], None),
        ([b"a\r\nX-Forged: b"], None),
        ([b'","level":"ERROR'], None),
        (["é".encode()], None),
        ([b"\xff"], None),
        ([b"x" * 129], None),
        ([b"x" * 5000], None),
    ],
)
def test_the_id_is_the_one_of_the_caller_if_that_is_harmless(
    values: list[bytes],
    expected: str | None,
    exchange: Callable[..., list[Message]],
    entries: Entries,
) -> None:
    state: dict[str, str] = {}
    headers = [(b"x-request-id", value) for value in values]
    layer = RequestLoggingMiddleware(PlainTextResponse("served"))
    start, _ = exchange(layer, headers=headers, state=state)
    (entry,) = entries()
    request_id = entry["request_id"]
    assert request_id == expected if expected else re.fullmatch("[0-9a-f]{32}", request_id)
    assert dict(start["headers"])[b"x-request-id"] == request_id.encode()
    assert state == {"request_id": request_id}


def test_every_request_has_an_id_of_its_own(client: TestClient) -> None:
    assert client.get("/").headers["x-request-id"] != client.get("/").headers["x-request-id"]


def test_a_request_is_logged_once_without_its_query(client: TestClient, entries: Entries) -> None:
    response = client.get("/healthz?token=hunter2", headers={"User-Agent": "hunter2"})
    (entry,) = entries()
    assert "hunter2" not in str(entry)
    assert entry.pop("time")
    assert 0 < float(response.headers["x-process-time"]) <= entry.pop("duration")
    assert entry == {
        "level": "INFO",
        "logger": request_logging.__name__,
        "message": "GET /healthz 200",
        "method": "GET",
        "path": "/healthz",
        "status": 200,
        "bytes": len(response.content),
        "client": "testclient",
        "request_id": response.headers["x-request-id"],
    }


def test_an_error_is_logged_once_with_its_final_status(
    get_error: Callable[..., Response], entries: Entries
) -> None:
    response = get_error()
    (entry,) = entries()
    assert entry["status"] == response.status_code
    assert entry["level"] == ("ERROR" if response.status_code >= 500 else "INFO")
    assert entry["request_id"] == response.headers["x-request-id"]
    assert float(response.headers["x-process-time"]) > 0


def test_every_record_of_a_request_carries_its_id(
    app: FastAPI, make_client: Callable[..., TestClient], log: Entries
) -> None:
    @app.get("/async")
    async def log_in_loop(request: Request) -> None:
        logger.info("logged")

    @app.get("/sync")
    def log_in_thread(request: Request) -> None:
        logger.info("logged")

    client = make_client(app)
    for path in ("/async", "/sync"):
        client.get(path, headers={"X-Request-ID": path[1:]})
    ids = [entry["request_id"] for entry in log() if entry["message"] == "logged"]
    assert ids == ["async", "sync"]


def test_a_stream_is_logged_when_it_is_complete(
    app: FastAPI, make_client: Callable[..., TestClient], log: Entries
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"three"):
            logger.info("sent")
            yield part

    app.add_api_route("/stream", lambda: StreamingResponse(parts()), response_model=None)
    response = make_client(app).get("/stream", headers={"Accept-Encoding": "identity"})
    assert response.text == "onethree"
    messages = [entry["message"] for entry in log()]
    assert messages[-3:] == ["sent", "sent", "GET /stream 200"]
    assert log()[-1]["bytes"] == 8


def test_a_background_task_is_not_part_of_the_request(
    app: FastAPI, make_client: Callable[..., TestClient], log: Entries
) -> None:
    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(logger.info, "done")

    make_client(app).get("/later", headers={"X-Request-ID": "a"})
    request, task = log()[-2:]
    assert (request["message"], task["message"]) == ("GET /later 200", "done")
    assert task["request_id"] == "a"


def test_a_client_that_leaves_is_logged_once(
    app: FastAPI, exchange: Callable[..., list[Message]], entries: Entries
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await anyio.lowlevel.checkpoint()

    app.add_api_route("/stream", lambda: StreamingResponse(parts()), response_model=None)
    exchange(app, {"type": "http.disconnect"}, path="/stream")
    (entry,) = entries()
    assert entry["status"] == 200


def test_an_answer_that_never_began_has_no_status(
    exchange: Callable[..., list[Message]], entries: Entries
) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        exchange(RequestLoggingMiddleware(fail), client=None)
    (entry,) = entries()
    assert entry["status"] is None
    assert entry["client"] is None


def test_the_path_is_the_routed_one(
    exchange: Callable[..., list[Message]], entries: Entries
) -> None:
    layer = RequestLoggingMiddleware(PlainTextResponse("served"))
    exchange(layer, root_path="/api", path="/api/a\n\x1b[2J\u2028b")
    (entry,) = entries()
    assert entry["path"] == "/a\n\x1b[2J\u2028b"


@pytest.fixture
def sockets(app: FastAPI) -> FastAPI:
    @app.websocket("/closed-by/{party}")
    async def close(websocket: WebSocket, party: str) -> None:
        await websocket.accept()
        if party == "client":
            await websocket.receive()
        else:
            await websocket.close(4000)

    @app.websocket("/fails")
    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        raise RuntimeError

    @app.websocket("/refused")
    async def refuse(websocket: WebSocket) -> None:
        await websocket.close()

    return app


@pytest.mark.parametrize(
    ("path", "close", "status", "code"),
    [
        ("/closed-by/client", 4001, 101, 4001),
        ("/closed-by/client", None, 101, 1005),
        ("/closed-by/server", None, 101, 4000),
        ("/fails", None, 101, None),
        ("/refused", None, 403, 1000),
        ("/nowhere", None, 404, None),
    ],
)
def test_a_websocket_is_logged_once_with_what_ended_it(
    path: str,
    close: int | None,
    status: int,
    code: int | None,
    sockets: FastAPI,
    exchange: Callable[..., list[Message]],
    entries: Entries,
) -> None:
    disconnect: Message = {"type": "websocket.disconnect"} | ({"code": close} if close else {})
    scope = {"type": "websocket", "scheme": "ws", "path": path, "query_string": b"token=hunter2"}
    sent: list[Message] = []
    with suppress(RuntimeError):
        exchange(sockets, {"type": "websocket.connect"}, disconnect, sent=sent, **scope)
    (entry,) = entries()
    assert "hunter2" not in str(entry)
    assert entry["message"] == f"WEBSOCKET {path} {status}"
    assert (entry["status"], entry["close_code"]) == (status, code)
    if status != 403:  # which servers answer themselves
        headers = dict(sent[0]["headers"])
        assert headers[b"x-request-id"] == entry["request_id"].encode()
        assert headers[b"x-process-time"]


def test_uvicorn_does_not_log_requests_again(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1", "GET", "/", "1.1", 200)
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.info('%s - "WebSocket %s" [accepted]', "1", "/?token=hunter2")
    uvicorn.info('%s - "WebSocket %s" 403', "1", "/?token=hunter2")
    uvicorn.info("Shutting down")
    assert caplog.messages == ["Shutting down"]


def test_a_server_logs_its_exceptions_with_the_id_of_the_request(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(
        "from app.main import app\n@app.get('/fails')\ndef fail():\n    raise RuntimeError('secret')\n"
    )
    server = serve("service:app")
    with server.connect() as client:
        for path, request_id in (("/?token=hunter2", "first"), ("/fails?token=hunter2", "second")):
            client.get(path, headers={"X-Request-ID": request_id})
    entries = server.stop()
    assert "hunter2" not in str(entries)
    assert not [entry for entry in entries if entry["logger"] == "uvicorn.access"]
    ids = {entry["message"].strip(): entry.get("request_id") for entry in entries}
    assert ids["GET / 200"] == "first"
    assert ids["GET /fails 500"] == "second"
    assert ids["Exception in ASGI application"] == "second"
    assert ids["Shutting down"] is None
