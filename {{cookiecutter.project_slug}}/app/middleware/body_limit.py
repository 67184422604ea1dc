"""Limit the size of request bodies."""

from collections.abc import Sequence

import anyio
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import close_headers, error_response, expects_continue
from app.core.settings import CoreSettings

# The words of Starlette, which enforces the limits that routes set.
MESSAGE = "Content Too Large"
# Seconds for which the rest of a rejected body is received before the connection closes.
DISCARD_TIMEOUT = 10


class BodyLimitSettings(CoreSettings):
    """`MAX_BODY_SIZE` (1048576): the largest request body in bytes, unless a route sets a limit."""

    max_body_size: int = Field(default=1_048_576, ge=0)


class BodyLimitMiddleware:
    """Rejects with 413 a request body of more than `max_body_size` bytes.

    The `max_body_size` of a route, router or mount replaces it, whether larger or smaller. A body
    that declares its size is rejected before the application runs; any other is counted while the
    application reads it. A 413 closes the connection, but not before the rest of the body has been
    received and discarded: a client that is still sending could lose the response otherwise. Any
    response to a client that still waits for 100 Continue closes the connection as well.
    Source: RFC 9110, sections 10.1.1 and 15.5.14; RFC 9112, section 9.6
    """

    def __init__(self, app: ASGIApp, *, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        # A copy, because routing changes the scope in place.
        request = {**scope}
        received = 0
        is_complete = is_exceeded = is_started = False
        is_waiting = expects_continue(scope)
        forward = send

        def exceeds(size: int) -> bool:
            # Only a large body has to wait until its route is found.
            return size > self.max_body_size and size > self.limit_for(request)

        async def reject() -> None:
            await error_response(413, MESSAGE)(scope, receive, send_and_close)

        async def receive_with_limit() -> Message:
            nonlocal received, is_complete, is_exceeded, is_waiting
            is_waiting = False
            message = await receive()
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            is_exceeded = exceeds(received)
            if is_exceeded:
                raise HTTPException(413, MESSAGE)
            return message

        async def send_with_limit(message: Message) -> None:
            nonlocal is_started, forward
            if message["type"] == "http.response.start":
                is_started = True
                if _is_rejection(message, is_exceeded=is_exceeded):
                    forward = _send_nothing
                    await reject()
                elif message["status"] == 413 or is_waiting:
                    forward = send_and_close
            await forward(message)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(close_headers(scope))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await discard()
                message = {"type": "http.response.body"}
            await send(message)

        async def discard() -> None:
            nonlocal is_complete
            with anyio.move_on_after(DISCARD_TIMEOUT):
                # A client that waits for 100 Continue does not send its body now.
                while not (is_complete or is_waiting):
                    is_complete = not (await receive()).get("more_body", False)

        for name, value in scope["headers"]:
            # Servers reject a length that is not a number.
            if name == b"content-length" and exceeds(int(value)):
                await reject()
                return
        try:
            await self.app(scope, receive_with_limit, send_with_limit)
        except Exception:
            if is_started:
                raise
            if not is_exceeded:
                # The response to an unhandled exception closes the connection, too.
                await discard()
                raise
            await reject()

    def limit_for(self, scope: Scope) -> int:
        routes = scope["app"].routes if "app" in scope else ()
        limit = find_limit(routes, scope)
        return self.max_body_size if limit is None else limit


def layer(settings: BodyLimitSettings) -> Middleware:
    """Reject request bodies of more than `MAX_BODY_SIZE` bytes."""
    return Middleware(BodyLimitMiddleware, max_body_size=settings.max_body_size)


def find_limit(routes: Sequence[BaseRoute], scope: Scope) -> int | None:
    """Return the limit of the route that this request leads to, or None if it sets none."""
    for route in iter_route_contexts(routes):
        match, child_scope = route.matches(scope)
        if match is Match.FULL:
            # Where there is a limit, FastAPI and Starlette wrap the application of the route.
            limit: int | None = getattr(route.app, "max_body_size", None)
            mounted = getattr(route, "routes", ())
            inner = find_limit(mounted, {**scope, **child_scope})
            return limit if inner is None else inner
    return None


def _is_rejection(start: Message, *, is_exceeded: bool) -> bool:
    if start["status"] == 413:
        # The limit of a route is enforced by Starlette, which responds in plain text.
        return is_exceeded or Headers(scope=start).get("content-type") != "application/json"
    # BaseHTTPMiddleware puts the exception in a group, which becomes another error.
    return is_exceeded and start["status"] >= 400


async def _send_nothing(message: Message) -> None: ...
