"""Every request has an id, and one log record."""

import logging
import os
import re
from time import perf_counter

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.logging import context, trace
from app.core.paths import route_path

RESPONSE_HEADERS = ("X-Request-ID", "X-Process-Time")

logger = logging.getLogger(__name__)
_is_valid_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


class RequestLoggingMiddleware:
    """Give each request an id, and log it once when its answer is complete.

    The id is the caller's `X-Request-ID` where that matches `[A-Za-z0-9._-]{1,128}`, else a new
    one. It is answered in `X-Request-ID`, stands in `request.state.request_id`, and every log
    record of the request carries it. `X-Process-Time` has the seconds until the answer began.
    Never logged: the query string, headers, bodies.
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
        request_id = _bind_request_id(scope)
        status: int | None = None
        size = 0
        logged = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, size, logged
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id, started)
                await send(message)
                return
            size += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                # Now, not when the application returns: background tasks come in between.
                logged = True
                _log(scope, started, scope["method"], status, {"bytes": size})

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            if not logged:
                _log(scope, started, scope["method"], status, {"bytes": size})

    async def log_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
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
                # Before the handshake is accepted, servers turn a close into a 403.
                status = status or 403
                close_code = message.get("code", 1000)
            await send(message)

        try:
            await self.app(scope, receive_close_code, send_with_id)
        finally:
            _log(scope, started, "WEBSOCKET", status, {"close_code": close_code})


def layer() -> Middleware:
    """Log requests. The records take the place of uvicorn's lines, which show query strings."""
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_is_no_access_line)
    return Middleware(RequestLoggingMiddleware)


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
    # Never reset: uvicorn logs an unhandled exception in this task after the middleware returned.
    context.set({"request_id": request_id, **trace()})
    return request_id


def _add_headers(message: Message, request_id: str, started: float) -> None:
    message["headers"] = [
        *message.get("headers", ()),
        (b"x-request-id", request_id.encode()),
        (b"x-process-time", b"%.6f" % (perf_counter() - started)),
    ]


def _log(
    scope: Scope, started: float, method: str, status: int | None, extra: dict[str, int | None]
) -> None:
    level = logging.ERROR if status and status >= 500 else logging.INFO
    if not logger.isEnabledFor(level):
        return
    path = route_path(scope)
    client = scope.get("client")
    fields = {
        "method": method,
        "path": path,
        "status": status,
        "duration": round(perf_counter() - started, 6),
        "client": client[0] if client else None,
        **extra,
    }
    # By hand: `logger.log` would look for its caller in the stack, and compare each field with all
    # that a record has, which is half of what making it takes.
    message = "%s %s %s", (method, path, status)
    record = logger.makeRecord(logger.name, level, __file__, 0, *message, None)
    vars(record).update(fields)
    logger.handle(record)
