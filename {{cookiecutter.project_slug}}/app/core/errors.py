"""The one shape of every error that this service answers, and the handlers that answer it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from app.core.settings import CoreSettings

# Headers of error answers that a script in a browser needs to read.
RESPONSE_HEADERS = ("Retry-After", "WWW-Authenticate")

# The names of RFC 9110 where they differ from those of older Python versions.
_TYPES = {
    413: "content_too_large",
    414: "uri_too_long",
    416: "range_not_satisfiable",
    422: "unprocessable_content",
    500: "server_error",
}


class Error(BaseModel):
    """What went wrong. `type` is for programs, `message` for people."""

    code: int
    message: str
    type: str
    details: Any = None


class ErrorEnvelope(BaseModel):
    """The body of every answer of 400 and above."""

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
    """Build an error answer. Works on a WebSocket scope too, where it refuses the handshake."""
    error = {"code": status_code, "message": message, "type": _type_of(status_code)}
    if details is not None:
        error["details"] = details
    return JSONResponse({"success": False, "error": error}, status_code, headers)


def layer(settings: CoreSettings) -> Middleware:
    """Answer an unhandled exception with a 500 from inside the layers that put headers on it.

    The one that FastAPI adds sits outside of all of them. This one outranks an
    `@app.exception_handler(Exception)`: change `server_error` below instead. The exception is
    raised again afterwards, so that servers log it and tests see it.
    """

    async def server_error(request: Request, exc: Exception) -> Response:
        # uvicorn drops the connection after an exception; a client that is not told would lose
        # its next request.
        close = {"Connection": "close"} if request.scope["http_version"] < "2" else None
        message = f"{type(exc).__name__}: {exc}" if settings.debug else "Internal server error"
        return error_response(500, message, headers=close)

    return Middleware(ServerErrorMiddleware, handler=server_error)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 404 where no route matches. Starlette's own leaves a WebSocket without a body."""
    raise HTTPException(404)


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
    # Not the input: it may be a password, or a number that JSON cannot hold.
    details = [{key: error[key] for key in ("type", "loc", "msg")} for error in exc.errors()]
    return error_response(422, message, details=details)


async def _websocket_error(websocket: WebSocket, exc: Exception) -> Response | None:
    assert isinstance(exc, WebSocketException)
    if await _close(websocket, exc.code, exc.reason):
        return None
    return error_response(403, exc.reason or "Forbidden")


async def _close(connection: HTTPConnection, code: int, reason: str) -> bool:
    """Close `connection` if it is a WebSocket that was accepted: no answer can follow."""
    if (
        not isinstance(connection, WebSocket)
        or connection.application_state is WebSocketState.CONNECTING
    ):
        return False
    if connection.application_state is WebSocketState.CONNECTED:
        # A frame that closes has room for 123 bytes.
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
}
