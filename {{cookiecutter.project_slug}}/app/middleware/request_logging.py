"""Give each request an id, and log each request once."""

import logging
import os
import re
from time import perf_counter
from urllib.parse import quote

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.logging import context, trace

RESPONSE_HEADERS = ("X-Request-ID", "X-Process-Time")

logger = logging.getLogger(__name__)
_is_valid_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


class RequestLoggingMiddleware:
    """Gives each request an id, and logs it once when its response is complete.

    The id is the client's `X-Request-ID` if that matches `[A-Za-z0-9._-]{1,128}`, else a new one.
    The response repeats it in `X-Request-ID`, routes find it in `request.state.request_id`, and
    every log record of the request carries it. `X-Process-Time` is the number of seconds until the
    response starts. The record has the path as the client sent it, percent-encoded, and never the
    query string, headers or bodies.

    A response of 500 or above is logged as a warning. The error itself is logged by the server,
    with its traceback, so that an error tracker counts it once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.log_request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.log_websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def log_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        path = sent_path(scope)
        request_id = _bind_request_id(scope)
        status: int | None = None
        size = 0
        is_logged = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, size, is_logged
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id, started)
                await send(message)
                return
            size += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                # Not when the application returns, because background tasks run before that.
                is_logged = True
                _log(scope, started, scope["method"], path, status, {"bytes": size})

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            if not is_logged:
                _log(scope, started, scope["method"], path, status, {"bytes": size})

    async def log_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        path = sent_path(scope)
        request_id = _bind_request_id(scope)
        status: int | None = None
        close_code: int | None = None

        async def receive_close_code() -> Message:
            nonlocal close_code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                close_code = message.get("code", 1005)
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status, close_code
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                _add_headers(message, request_id, started)
            elif message["type"] == "websocket.close":
                # A close before the handshake is accepted becomes a 403 in the server.
                status = status or 403
                close_code = message.get("code", 1000)
            await send(message)

        try:
            await self.app(scope, receive_close_code, send_with_id)
        finally:
            _log(scope, started, "WEBSOCKET", path, status, {"close_code": close_code})


def layer() -> Middleware:
    """Log requests. The records replace uvicorn's access log, which shows query strings."""
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_is_no_access_line)
    return Middleware(RequestLoggingMiddleware)


def sent_path(scope: Scope) -> str:
    """Return the path as the client sent it, percent-encoded.

    That is `raw_path`, which servers may omit, and which some of them extend by the query string.
    """
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is None:
        return quote(scope["path"])
    return raw_path.partition(b"?")[0].decode("ascii", "backslashreplace")


def _is_no_access_line(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith('%s - "WebSocket %s"')


def _bind_request_id(scope: Scope) -> str:
    request_id = ""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _is_valid_id(value):
            request_id = value.decode()
            break
    request_id = request_id or os.urandom(16).hex()
    scope.setdefault("state", {})["request_id"] = request_id
    # Never reset: uvicorn logs an unhandled exception in this task after the middleware returns.
    context.set({"request_id": request_id, **trace()})
    return request_id


def _add_headers(message: Message, request_id: str, started: float) -> None:
    message["headers"] = [
        *message.get("headers", ()),
        (b"x-request-id", request_id.encode()),
        (b"x-process-time", b"%.6f" % (perf_counter() - started)),
    ]


def _log(
    scope: Scope,
    started: float,
    method: str,
    path: str,
    status: int | None,
    extra: dict[str, int | None],
) -> None:
    level = logging.WARNING if status and status >= 500 else logging.INFO
    client = scope.get("client")
    fields = {
        "method": method,
        "path": path,
        "status": status,
        "duration": round(perf_counter() - started, 6),
        "client": client[0] if client else None,
        **extra,
    }
    logger.log(level, "%s %s %s", method, path, status, extra=fields)
