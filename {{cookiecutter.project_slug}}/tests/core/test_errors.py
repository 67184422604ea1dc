from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.factory import create_app


def envelope(code: int, message: str, type: str, **details: Any) -> dict[str, Any]:
    error = {"code": code, "message": message, "type": type, **details}
    return {"success": False, "error": error}


def test_every_error_has_the_envelope(get_error: Callable[..., Response]) -> None:
    response = get_error()
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"success", "error"}
    assert body["success"] is False
    assert body["error"].keys() == {"code", "message", "type"}
    assert body["error"]["code"] == response.status_code
    assert body["error"]["type"].isidentifier()
    assert "secret" not in response.text


def test_an_unknown_path_is_not_found(client: TestClient) -> None:
    response = client.get("/nowhere")
    assert response.json() == envelope(404, "Not Found", "not_found")


def test_a_wrong_method_is_told_the_right_one(client: TestClient) -> None:
    response = client.delete("/")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"
    assert response.json() == envelope(405, "Method Not Allowed", "method_not_allowed")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HTTPException(409), envelope(409, "Conflict", "conflict")),
        (HTTPException(403, "Not yours"), envelope(403, "Not yours", "forbidden")),
        (HTTPException(418, ""), envelope(418, "", "im_a_teapot")),
        (HTTPException(499, "Gone"), envelope(499, "Gone", "error")),
        (
            HTTPException(413, {"limit": 1}),
            envelope(413, "Content too large", "content_too_large", details={"limit": 1}),
        ),
        (
            HTTPException(503, ["a", "b"]),
            envelope(503, "Service unavailable", "service_unavailable", details=["a", "b"]),
        ),
    ],
    ids=str,
)
def test_an_exception_of_a_route_is_answered(
    error: HTTPException, expected: object, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    error.headers = {"Retry-After": "5"}

    @app.get("/raises")
    async def fail() -> None:
        raise error

    response = make_client(app).get("/raises")
    assert response.status_code == error.status_code
    assert response.headers["retry-after"] == "5"
    assert response.json() == expected


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_gets_none(
    status: int, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    @app.get("/raises")
    async def fail() -> None:
        raise HTTPException(status, headers={"ETag": "1"})

    response = make_client(app).get("/raises")
    assert response.status_code == status
    assert response.headers["etag"] == "1"
    assert response.content == b""


class Login(BaseModel):
    password: Annotated[str, Field(min_length=12)]
    age: int = 0


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"password": "hunter2"}', ["body", "password"]),
        ('{"password": ["hunter2"]}', ["body", "password"]),
        ('{"passwort": "hunter2"}', ["body", "password"]),
        ('{"password": "hunter2hunter2", "age": NaN}', ["body", "age"]),
        ('{"password": "hunter2hunter2", "age": "\\ud800"}', ["body", "age"]),
        ('{"password": "hunter2', ["body", 13]),
        ('"hunter2"', ["body"]),
    ],
)
def test_what_is_not_valid_is_said_without_repeating_it(
    body: str, place: list[str], app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    @app.post("/login")
    async def log_in(login: Login) -> None: ...

    headers = {"Content-Type": "application/json"}
    response = make_client(app).post("/login", content=body, headers=headers)
    assert response.status_code == 422
    (problem,) = response.json()["error"].pop("details")
    assert problem.keys() == {"type", "loc", "msg"}
    assert problem["loc"] == place
    assert "hunter2" not in response.text
    assert "NaN" not in response.text


async def fail() -> None:
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("debug", "message"), [(False, "Internal server error"), (True, "ValueError: secret")]
)
def test_only_while_debug_is_on_the_cause_of_a_500_is_told(
    debug: bool, message: str, make_settings: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    app = create_app(make_settings(debug=debug))
    app.add_api_route("/fails", fail)
    response = make_client(app).get("/fails")
    assert response.status_code == 500
    assert response.json() == envelope(500, message, "server_error")


@pytest.mark.parametrize(("version", "expected"), [("1.0", "close"), ("1.1", "close"), ("2", None)])
def test_a_500_ends_the_connection_where_the_protocol_asks_for_it(
    version: str, expected: str | None, app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "http_version": version}, receive, send)

    app.add_api_route("/fails", fail)
    response = make_client(serve).get("/fails")
    assert response.status_code == 500
    assert response.headers.get("connection") == expected


def test_the_server_still_gets_the_exception(
    app: FastAPI, exchange: Callable[..., list[Message]]
) -> None:
    app.add_api_route("/fails", fail)
    with pytest.raises(ValueError, match="secret"):
        exchange(app, path="/fails")


def test_an_answer_that_has_begun_is_not_followed_by_another(
    app: FastAPI, exchange: Callable[..., list[Message]]
) -> None:
    async def fail_late() -> Any:
        yield b"begun"
        raise HTTPException(404)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(fail_late())

    sent: list[Message] = []
    with suppress(RuntimeError):
        exchange(app, path="/stream", sent=sent)
    assert [message["status"] for message in sent if "status" in message] == [200]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (HTTPException(401, "Who?"), 401, "Who?"),
        (WebSocketException(4000, "Not now"), 403, "Not now"),
        (WebSocketException(4000), 403, "Forbidden"),
    ],
)
def test_an_exception_before_a_websocket_is_accepted_refuses_it(
    error: Exception,
    code: int,
    message: str,
    app: FastAPI,
    make_client: Callable[..., TestClient],
    refuse: Callable[..., Response],
) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket) -> None:
        raise error

    response = refuse(make_client(app), "/socket")
    assert response.status_code == code
    assert response.json()["error"]["message"] == message


def test_a_websocket_to_nowhere_is_refused(
    client: TestClient, refuse: Callable[..., Response]
) -> None:
    response = refuse(client, "/nowhere")
    assert response.status_code == 404
    assert response.json() == envelope(404, "Not Found", "not_found")


def test_a_websocket_with_a_wrong_query_is_refused(
    app: FastAPI, make_client: Callable[..., TestClient], refuse: Callable[..., Response]
) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket, number: int) -> None: ...

    response = refuse(make_client(app), "/socket?number=hunter2")
    assert response.status_code == 422
    assert response.json()["error"]["details"][0]["loc"] == ["query", "number"]
    assert "hunter2" not in response.text


async def accept(websocket: WebSocket) -> None:
    await websocket.accept()


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (HTTPException(403, "Not yours"), 1008, "Not yours"),
        (HTTPException(403, {"a": 1}), 1008, "Forbidden"),
        (HTTPException(503), 1011, "Service Unavailable"),
        (HTTPException(400, "ж" * 100), 1008, "ж" * 61),
        (WebSocketException(4000, "Enough"), 4000, "Enough"),
    ],
)
def test_an_exception_after_a_websocket_was_accepted_closes_it(
    error: Exception,
    code: int,
    reason: str,
    app: FastAPI,
    make_client: Callable[..., TestClient],
) -> None:
    @app.websocket("/socket", dependencies=[Depends(accept)])
    async def connect() -> None:
        raise error

    with make_client(app).websocket_connect("/socket") as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert (end.value.code, end.value.reason) == (code, reason)


def test_a_wrong_query_after_a_websocket_was_accepted_closes_it(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    @app.websocket("/socket", dependencies=[Depends(accept)])
    async def connect(number: int) -> None: ...

    with make_client(app).websocket_connect("/socket") as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert (end.value.code, end.value.reason) == (1008, "The request is not valid")


def test_a_websocket_is_closed_once(app: FastAPI, make_client: Callable[..., TestClient]) -> None:
    @app.websocket("/socket")
    async def connect(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4001)
        raise HTTPException(403)

    with make_client(app).websocket_connect("/socket") as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert end.value.code == 4001
