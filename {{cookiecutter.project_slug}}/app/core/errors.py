"""The format of all error responses, and the handlers that create them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.core.settings import CoreSettings

# Headers of error responses that a script in a browser needs to read.
RESPONSE_HEADERS = ("Retry-After", "WWW-Authenticate")

# The names of RFC 9110, for statuses that older Python versions name differently.
_TYPES = {
    413: "content_too_large",
    414: "uri_too_long",
    416: "range_not_satisfiable",
    422: "unprocessable_content",
    500: "server_error",
}


class Error(BaseModel):
    """What went wrong: `type` for programs, `message` for people."""

    code: int
    message: str
    type: str
    details: Any = None


class ErrorEnvelope(BaseModel):
    """The body of every response with a status of 400 or above."""

    success: Literal[False] = False
    error: Error


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorEnvelope, "description": "Any error"}
}


def error_response(
    status_code: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    details: object = None,
) -> JSONResponse:
    """Create an error response. For a WebSocket scope, it rejects the handshake."""
    error = {"code": status_code, "message": message, "type": _type_of(status_code)}
    if details is not None:
        error["details"] = details
    return JSONResponse({"success": False, "error": error}, status_code, headers)


def expects_continue(scope: Scope) -> bool:
    """Return whether the client waits for 100 Continue before it sends the body.

    A response that is sent instead has to say whether the connection closes. Apache, for one, takes
    a connection that stays open as a promise to read the body. Source: RFC 9110, section 10.1.1
    """
    return any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )


def close_headers(scope: Scope) -> dict[str, str]:
    """Return the headers that announce that the connection closes. HTTP/2 has none."""
    return {"Connection": "close"} if scope["http_version"] < "2" else {}


def layer(settings: CoreSettings) -> Middleware:
    """Respond with 500 to an unhandled exception, inside the layers that add headers.

    FastAPI's own layer for this is outside all of them. This one takes precedence over
    `@app.exception_handler(Exception)`: change `server_error` below instead. The exception is
    raised again, so that the server logs it, once and with its traceback, and tests see it.
    """

    async def server_error(request: Request, exc: Exception) -> Response:
        message = f"{type(exc).__name__}: {exc}" if settings.debug else "Internal server error"
        # uvicorn closes the connection after an exception. A client that is not told would lose
        # its next request.
        return error_response(500, message, headers=close_headers(request.scope))

    return Middleware(ServerErrorMiddleware, handler=server_error)


def set_up(app: Starlette) -> None:
    """Give an application the error format of this service.

    A mounted application handles its own errors, so call this for each that is mounted. Its
    unhandled exceptions are left to `layer`, which responds to those of all applications.
    """
    app.exception_handlers.update(HANDLERS)
    # Starlette's own rejects a WebSocket without a body.
    app.router.default = _not_found


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404)


async def _leave_to_layer(request: Request, exc: Exception) -> ASGIApp:
    async def send_nothing(scope: Scope, receive: Receive, send: Send) -> None: ...

    return send_nothing


async def _http_error(connection: HTTPConnection, exc: Exception) -> Response | None:
    assert isinstance(exc, HTTPException)
    if exc.status_code < 200 or exc.status_code in (204, 205, 304):
        return Response(status_code=exc.status_code, headers=exc.headers)
    message, details = exc.detail, None
    if not isinstance(message, str):
        message, details = _type_of(exc.status_code).replace("_", " ").capitalize(), exc.detail
    if await _close(connection, 1008 if exc.status_code < 500 else 1011, message):
        return None
    return error_response(exc.status_code, message, headers=exc.headers, details=details)


async def _validation_error(connection: HTTPConnection, exc: Exception) -> Response | None:
    assert isinstance(exc, RequestValidationError | WebSocketRequestValidationError)
    message = "The request is not valid"
    if await _close(connection, 1008, message):
        return None
    # Without the input, which may be a password or a number that JSON cannot represent.
    details = [{key: error[key] for key in ("type", "loc", "msg")} for error in exc.errors()]
    return error_response(422, message, details=details)


async def _websocket_error(websocket: WebSocket, exc: Exception) -> Response | None:
    assert isinstance(exc, WebSocketException)
    if await _close(websocket, exc.code, exc.reason):
        return None
    return error_response(403, exc.reason or "Forbidden")


async def _client_left(connection: HTTPConnection, exc: Exception) -> Response | None:
    # Nothing reaches the client any more. But it is no error of the server, and no success either,
    # which would commit half of an upload.
    if isinstance(connection, WebSocket):
        return None
    return error_response(400, "The client disconnected")


async def _close(connection: HTTPConnection, code: int, reason: str) -> bool:
    """Close an accepted WebSocket, which cannot be sent a response. Return whether it was one."""
    if (
        not isinstance(connection, WebSocket)
        or connection.application_state is WebSocketState.CONNECTING
    ):
        return False
    if connection.application_state is WebSocketState.CONNECTED:
        # A close frame has room for a reason of 123 bytes.
        await connection.close(code, reason.encode()[:123].decode(errors="ignore"))
    return True


def _type_of(status_code: int) -> str:
    if status_code in _TYPES:
        return _TYPES[status_code]
    try:
        return HTTPStatus(status_code).phrase.lower().replace(" ", "_").replace("'", "")
    except ValueError:
        return "error"


HANDLERS: dict[int | type[Exception], Any] = {
    HTTPException: _http_error,
    RequestValidationError: _validation_error,
    WebSocketRequestValidationError: _validation_error,
    WebSocketException: _websocket_error,
    ClientDisconnect: _client_left,
    WebSocketDisconnect: _client_left,
    Exception: _leave_to_layer,
}
