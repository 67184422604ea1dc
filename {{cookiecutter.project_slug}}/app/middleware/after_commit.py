"""What a request leaves to do happens if it succeeds, and before its answer leaves."""

import logging
from collections.abc import Awaitable, Callable

import anyio
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import error_response

# Seconds. A client waits no longer for what is to be done to be done.
TIMEOUT = 3.0

logger = logging.getLogger(__name__)


class AfterCommitMiddleware:
    """Call what is in `request.state.after_commit` when the answer starts, if its status is below 400.

    This encloses the layer that commits: what was rolled back is never called, and nobody holds a
    success whose calls did not happen, for then the answer is a 503. If the process dies between
    the commit and the calls, the client has no answer at all. Where even that is too little, write
    what is to be done in the same transaction, as a row, and have it read from there (an outbox).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        calls: list[Callable[[], Awaitable[object]]] = []
        scope.setdefault("state", {})["after_commit"] = calls
        is_replaced = False

        async def send_after_calls(message: Message) -> None:
            nonlocal is_replaced
            if calls and message["type"] == "http.response.start" and message["status"] < 400:
                try:
                    with anyio.fail_after(TIMEOUT):
                        for call in calls:
                            await call()
                except Exception:
                    logger.exception("a request succeeded, but not what it left to do")
                    is_replaced = True
                    headers = {"Retry-After": "1"}
                    response = error_response(503, "Try again later", headers=headers)
                    await response(scope, receive, send)
            if not is_replaced:
                await send(message)

        await self.app(scope, receive, send_after_calls)


def layer() -> Middleware:
    """Do what requests leave to do."""
    return Middleware(AfterCommitMiddleware)
