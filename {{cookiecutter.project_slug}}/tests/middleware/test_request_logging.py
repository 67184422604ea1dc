import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.testclient import TestClient
from httpx2 import Response
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.middleware import request_logging
from app.middleware.request_logging import RequestLoggingMiddleware
from tests.support import call_app

Entries = Callable[[], list[dict[str, Any]]]
LAYER = RequestLoggingMiddleware(PlainTextResponse("served"))
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
    values: list[bytes], expected: str | None, entries: Entries
) -> None:
    state: dict[str, str] = {}
    start, _ = call_app(LAYER, headers=[(b"x-request-id", v) for v in values], state=state)
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
    assert entry.pop("time")
    assert 0 < float(response.headers["x-process-time"]) <= entry.pop("duration")
    # A layer may name the user.
    entry.pop("user", None)
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
    # Not an error: that is the exception, which the server logs.
    assert entry["level"] == ("WARNING" if response.status_code >= 500 else "INFO")
    assert entry["request_id"] == response.headers["x-request-id"]
    assert float(response.headers["x-process-time"]) > 0


def test_every_record_of_a_request_carries_its_id(
    app: FastAPI, client: TestClient, log: Entries
) -> None:
    @app.get("/loop")
    async def log_in_loop() -> None:
        logger.info("logged")

    @app.get("/thread")
    def log_in_thread(tasks: BackgroundTasks) -> None:
        logger.info("logged")
        tasks.add_task(logger.info, "done later")

    client.get("/loop", headers={"X-Request-ID": "a"})
    client.get("/thread", headers={"X-Request-ID": "b"})
    assert [(entry["message"], entry.get("request_id")) for entry in log()[-5:]] == [
        ("logged", "a"),
        ("GET /loop 200", "a"),
        ("logged", "b"),
        ("GET /thread 200", "b"),
        ("done later", "b"),
    ]


def test_a_stream_is_logged_when_it_is_complete(
    app: FastAPI, client: TestClient, log: Entries
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"three"):
            logger.info("sent")
            yield part

    app.add_api_route("/stream", lambda: StreamingResponse(parts()), response_model=None)
    client.get("/stream", headers={"Accept-Encoding": "identity"})
    assert [entry["message"] for entry in log()[-3:]] == ["sent", "sent", "GET /stream 200"]
    assert log()[-1]["bytes"] == len("onethree")


def test_a_client_that_leaves_is_logged_once(app: FastAPI, entries: Entries) -> None:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await anyio.lowlevel.checkpoint()

    app.add_api_route("/stream", lambda: StreamingResponse(parts()), response_model=None)
    call_app(app, {"type": "http.disconnect"}, path="/stream")
    assert [entry["message"] for entry in entries()] == ["GET /stream 200"]


def test_a_response_that_never_started_has_no_status(entries: Entries) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        call_app(RequestLoggingMiddleware(fail), client=None)
    (entry,) = entries()
    assert entry["status"] is entry["client"] is None


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/a b/é"}, "/a%20b/%C3%A9"),
        ({"path": "/a/b", "raw_path": b"/a%2Fb"}, "/a%2Fb"),
        ({"path": "/api/a", "root_path": "/api", "raw_path": b"/api/a"}, "/api/a"),
        ({"path": "/api/a", "root_path": "/api"}, "/api/a"),
        ({"path": "/a", "raw_path": b"/a?token=hunter2"}, "/a"),
        ({"path": "/", "raw_path": b"/\n\xff"}, "/\n\\xff"),
        ({"path": "/a\n\x1b[2J\u2028b"}, "/a%0A%1B%5B2J%E2%80%A8b"),
    ],
)
def test_the_path_is_the_one_that_the_client_sent(
    scope: Message, expected: str, entries: Entries
) -> None:
    call_app(LAYER, **scope)
    (entry,) = entries()
    assert entry["path"] == expected


@pytest.mark.parametrize("path", ["/mounted/inner/a%20b", "/mounted/nowhere"])
def test_the_path_of_a_mounted_application_has_the_mount_in_it(
    path: str, app: FastAPI, client: TestClient, entries: Entries
) -> None:
    inner = FastAPI()

    @inner.get("/{name}")
    def read(name: str) -> str:
        return name

    @inner.websocket("/{name}")
    async def accept(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        await websocket.close()

    middle = FastAPI()
    middle.mount("/inner", inner)
    app.mount("/mounted", middle)
    response = client.get(path)
    (entry,) = entries()
    assert entry["message"] == f"GET {path} {response.status_code}"
    with suppress(WebSocketDisconnect), client.websocket_connect(path):
        pass
    assert entries()[-1]["path"] == path


@pytest.mark.parametrize(
    ("path", "disconnect", "status", "code"),
    [
        ("/closed-by-client", {"code": 4001}, 101, 4001),
        ("/closed-by-client", {}, 101, 1005),
        ("/closed-by-server", {}, 101, 4000),
        ("/fails", {}, 101, None),
        ("/refused", {}, 403, 1000),
        ("/nowhere", {}, 404, None),
    ],
)
def test_a_websocket_is_logged_once_with_what_ended_it(
    path: str,
    disconnect: Message,
    status: int,
    code: int | None,
    app: FastAPI,
    entries: Entries,
) -> None:
    async def connect(websocket: WebSocket) -> None:
        if path != "/refused":
            await websocket.accept()
        if path == "/fails":
            raise RuntimeError
        if path == "/closed-by-client":
            await websocket.receive()
        else:
            await websocket.close(code or 1000)

    if path != "/nowhere":
        app.add_api_websocket_route(path, connect)
    sent: list[Message] = []
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", **disconnect}]
    scope = {"type": "websocket", "scheme": "ws", "query_string": b"token=hunter2"}
    with suppress(RuntimeError):
        call_app(app, *messages, sent=sent, path=path, **scope)
    (entry,) = entries()
    assert "hunter2" not in str(entry)
    assert entry["message"] == f"WEBSOCKET {path} {status}"
    assert (entry["status"], entry["close_code"]) == (status, code)
    if path != "/refused":  # whose response the server creates
        headers = dict(sent[0]["headers"])
        assert headers[b"x-request-id"] == entry["request_id"].encode()
        assert headers[b"x-process-time"]


@pytest.mark.usefixtures("own_logging", "app")
def test_uvicorn_does_not_log_requests_again(caplog: pytest.LogCaptureFixture) -> None:
    uvicorn = logging.getLogger("uvicorn.error")
    logging.getLogger("uvicorn.access").warning('%s - "%s %s HTTP/%s" %d', "1", "GET", "/", "1", 2)
    uvicorn.warning('%s - "WebSocket %s" [accepted]', "1", "/?token=hunter2")
    uvicorn.warning('%s - "WebSocket %s" 403', "1", "/?token=hunter2")
    uvicorn.warning("Shutting down")
    assert caplog.messages == ["Shutting down"]


def test_a_server_logs_its_exceptions_with_the_id_of_the_request(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(
        "from app.main import app\n@app.get('/fails')\ndef fail():\n    raise RuntimeError('secret')\n"
    )
    server = serve("service:app")
    with server.connect() as client:
        client.get("/?token=hunter2", headers={"X-Request-ID": "first"})
        client.get("/fails?token=hunter2", headers={"X-Request-ID": "second"})
    entries = server.stop()
    assert "hunter2" not in str(entries)
    # Once, for an error tracker that counts records.
    (error,) = (entry for entry in entries if entry["level"] in ("ERROR", "CRITICAL"))
    assert "RuntimeError: secret" in error["exception"]
    ids = {entry["message"].strip(): entry.get("request_id") for entry in entries}
    assert (ids["GET / 200"], ids["GET /fails 500"]) == ("first", "second")
    assert ids["Exception in ASGI application"] == "second"
    assert ids["Shutting down"] is None
    assert "uvicorn.access" not in {entry["logger"] for entry in entries}
