from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    WebSocket,
    WebSocketException,
)
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.core import errors
from tests.support import call_app, reject_websocket

MakeClient = Callable[..., TestClient]


def envelope(code: int, message: str, type: str, **details: Any) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message, "type": type, **details}}


def test_every_error_has_the_envelope(get_error: Callable[..., Response]) -> None:
    response = get_error()
    error = response.json()["error"]
    assert response.headers["content-type"] == "application/json"
    assert response.json() == envelope(response.status_code, error["message"], error["type"])
    assert error["type"].isidentifier()
    assert "secret" not in response.text


def test_an_unknown_path_is_not_found(client: TestClient) -> None:
    expected = envelope(404, "Not Found", "not_found")
    assert client.get("/nowhere").json() == expected
    assert reject_websocket(client, "/nowhere").status_code == 404
    assert reject_websocket(client, "/nowhere").json() == expected


def test_a_wrong_method_is_told_the_right_one(client: TestClient) -> None:
    response = client.delete("/")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert response.json() == envelope(405, "Method Not Allowed", "method_not_allowed")


@pytest.mark.parametrize(
    ("status", "detail", "message", "type"),
    [
        (409, None, "Conflict", "conflict"),
        (403, "Not yours", "Not yours", "forbidden"),
        (418, "", "", "im_a_teapot"),
        (499, "Gone", "Gone", "error"),
        (413, {"limit": 1}, "Content too large", "content_too_large"),
        (503, ["a", "b"], "Service unavailable", "service_unavailable"),
    ],
)
def test_an_exception_of_a_route_gets_a_response(
    status: int, detail: Any, message: str, type: str, app: FastAPI, client: TestClient
) -> None:
    @app.get("/raises")
    async def fail() -> None:
        raise HTTPException(status, detail, headers={"Retry-After": "5"})

    response = client.get("/raises")
    assert (response.status_code, response.headers["retry-after"]) == (status, "5")
    details = {"details": detail} if isinstance(detail, dict | list) else {}
    assert response.json() == envelope(status, message, type, **details)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_gets_none(status: int, app: FastAPI, client: TestClient) -> None:
    @app.get("/raises")
    async def fail() -> None:
        raise HTTPException(status, headers={"ETag": "1"})

    response = client.get("/raises")
    assert (response.status_code, response.headers["etag"]) == (status, "1")
    assert response.content == b""


class Login(BaseModel):
    password: Annotated[str, Field(min_length=12)]
    age: int = 0


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"password": "hunter2"}', ["body", "password"]),
        ('{"passwort": "hunter2"}', ["body", "password"]),
        ('{"password": "hunter2hunter2", "age": NaN}', ["body", "age"]),
        ('{"password": "hunter2hunter2", "age": "\\ud800"}', ["body", "age"]),
        ('{"password": "hunter2', ["body", 13]),
        ('"hunter2"', ["body"]),
    ],
)
def test_what_is_not_valid_is_said_without_repeating_it(
    body: str, place: list[object], app: FastAPI, client: TestClient
) -> None:
    @app.post("/login")
    async def log_in(login: Login) -> None: ...

    response = client.post("/login", content=body, headers={"Content-Type": "application/json"})
    (problem,) = response.json()["error"]["details"]
    assert (problem.keys(), problem["loc"]) == ({"type", "loc", "msg"}, place)
    assert response.status_code == 422
    assert response.json() == envelope(
        422, "The request is not valid", "unprocessable_content", details=[problem]
    )
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    ("debug", "message"), [(False, "Internal server error"), (True, "ValueError: secret")]
)
def test_the_cause_of_a_500_is_told_only_while_debug_is_on(
    debug: bool, message: str, make_client: MakeClient
) -> None:
    response = make_client(debug=debug).get("/fails")
    assert response.status_code == 500
    assert response.json() == envelope(500, message, "server_error")


@pytest.mark.parametrize(("version", "expected"), [("1.0", "close"), ("1.1", "close"), ("2", None)])
def test_a_500_ends_the_connection_where_the_protocol_asks_for_it(
    version: str, expected: str | None, app: FastAPI, make_client: MakeClient
) -> None:
    async def over_version(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "http_version": version}, receive, send)

    response = make_client(over_version).get("/fails")
    assert (response.status_code, response.headers.get("connection")) == (500, expected)


def test_the_server_still_gets_the_exception(app: FastAPI) -> None:
    with pytest.raises(ValueError, match="secret"):
        call_app(app, path="/fails")


def test_a_response_that_has_started_is_not_followed_by_another(
    app: FastAPI,
) -> None:
    async def fail_late() -> Any:
        yield b"begun"
        raise HTTPException(404)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(fail_late())

    sent: list[Message] = []
    with pytest.raises(RuntimeError):
        call_app(app, path="/stream", sent=sent)
    assert [message["status"] for message in sent if "status" in message] == [200]


def test_a_router_that_is_included_later_has_the_same_errors(
    app: FastAPI, client: TestClient
) -> None:
    router = APIRouter(prefix="/later")

    @router.get("/{number}")
    async def read(number: int) -> None:
        raise HTTPException(409, "Taken")

    assert client.get("/later/1").status_code == 404
    app.include_router(router)
    assert client.get("/later/1").json() == envelope(409, "Taken", "conflict")
    assert client.get("/later/x").json()["error"]["code"] == 422


@pytest.mark.parametrize(("debug", "message"), [(False, "Internal"), (True, "ValueError: secret")])
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_a_mounted_application_has_the_same_errors_after_set_up(
    kind: type[Starlette], debug: bool, message: str, make_app: Callable[..., FastAPI],
    make_client: MakeClient,
) -> None:  # fmt: skip
    async def fail(request: Request) -> None:
        raise ValueError("secret")

    async def conflict(request: Request) -> None:
        raise HTTPException(409, "Taken")

    mounted = kind(routes=[Route("/fails", fail), Route("/conflict", conflict)])
    errors.set_up(mounted)
    app = make_app(debug=debug)
    app.mount("/mounted", mounted)
    client = make_client(app)
    assert client.get("/mounted/conflict").json() == envelope(409, "Taken", "conflict")
    for url in ("/nowhere", "/mounted/nowhere"):
        assert client.get(url).json() == envelope(404, "Not Found", "not_found")
        assert reject_websocket(client, url).json() == envelope(404, "Not Found", "not_found")
    response = client.get("/mounted/fails")
    assert (response.status_code, response.headers["connection"]) == (500, "close")
    assert response.json()["error"]["message"].startswith(message)
    with pytest.raises(ValueError, match="secret"):
        call_app(app, path="/mounted/fails")


def test_a_mounted_application_says_what_is_not_valid(app: FastAPI, client: TestClient) -> None:
    mounted = FastAPI()
    errors.set_up(mounted)

    @mounted.get("/{number}")
    async def read(number: int) -> None: ...

    app.mount("/mounted", mounted)
    error = client.get("/mounted/hunter2").json()["error"]
    assert (error["code"], error["details"][0]["loc"]) == (422, ["path", "number"])
    assert "hunter2" not in str(error)


async def accept(websocket: WebSocket) -> None:
    await websocket.accept()


@pytest.mark.parametrize(
    ("error", "answer", "close"),
    [
        (HTTPException(401, "Who?"), (401, "Who?"), (1008, "Who?")),
        (HTTPException(403, {"a": 1}), (403, "Forbidden"), (1008, "Forbidden")),
        (HTTPException(503), (503, "Service Unavailable"), (1011, "Service Unavailable")),
        (HTTPException(400, "ж" * 99), (400, "ж" * 99), (1008, "ж" * 61)),
        (WebSocketException(4000, "Not now"), (403, "Not now"), (4000, "Not now")),
        (WebSocketException(4000), (403, "Forbidden"), (4000, "")),
        (None, (422, "The request is not valid"), (1008, "The request is not valid")),
    ],
)
def test_an_exception_rejects_a_websocket_or_closes_one_that_was_accepted(
    error: Exception | None,
    answer: tuple[int, str],
    close: tuple[int, str],
    app: FastAPI,
    client: TestClient,
) -> None:
    @app.websocket("/refused")
    @app.websocket("/accepted", dependencies=[Depends(accept)])
    async def connect(number: int) -> None:
        assert error
        raise error

    url = "?number=1" if error else "?number=hunter2"
    response = reject_websocket(client, "/refused" + url)
    assert (response.status_code, response.json()["error"]["message"]) == answer
    assert "hunter2" not in response.text
    with client.websocket_connect("/accepted" + url) as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert (end.value.code, end.value.reason) == close


def test_a_websocket_is_closed_once(app: FastAPI, client: TestClient) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4001)
        raise HTTPException(403)

    with client.websocket_connect("/socket") as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert end.value.code == 4001


def test_a_client_that_aborts_an_upload_is_no_server_error(app: FastAPI) -> None:
    @app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = call_app(app, *messages, method="POST", path="/upload")
    assert sent[0]["status"] == 400


def test_a_client_that_leaves_a_websocket_is_no_server_error(app: FastAPI) -> None:
    @app.websocket("/ticks")
    async def tick(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text("tick")

    sent: list[Message] = []

    async def leave_after_three(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_while_connected(message: Message) -> None:
            if len(sent) == 3:
                raise OSError("the client is gone")
            await send(message)

        await app(scope, receive, send_while_connected)

    call_app(
        leave_after_three,
        {"type": "websocket.connect"},
        sent=sent,
        type="websocket",
        path="/ticks",
        scheme="ws",
    )
    assert [message["type"] for message in sent] == ["websocket.accept"] + 2 * ["websocket.send"]
