"""Callbacks that run after the transaction of a request is committed."""

import logging
from collections.abc import Awaitable, Callable

import anyio
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import error_response

# How long the callbacks of a request may take, in seconds.
TIMEOUT = 3.0

logger = logging.getLogger(__name__)


class AfterCommitMiddleware:
    """Runs the callbacks of a request after its transaction commits, before the response is sent.

    Routes append callbacks to `request.state.after_commit`. They run if the status is below 400.
    If one fails, the response is a 503, so a client never receives a success whose callbacks did
    not run. If the process dies between the commit and the callbacks, the client receives no
    response.
    """

    # Where that is not enough, write the work to do as a row in the same transaction, and process
    # the rows separately (an outbox).

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        callbacks: list[Callable[[], Awaitable[object]]] = []
        scope.setdefault("state", {})["after_commit"] = callbacks
        is_replaced = False

        async def send_after_callbacks(message: Message) -> None:
            nonlocal is_replaced
            if callbacks and message["type"] == "http.response.start" and message["status"] < 400:
                try:
                    with anyio.fail_after(TIMEOUT):
                        for callback in callbacks:
                            await callback()
                except Exception as error:
                    # An HTTPException was logged by what raised it.
                    if not isinstance(error, HTTPException):
                        logger.exception("a callback failed after the request was committed")
                    is_replaced = True
                    headers = {"Retry-After": "1"}
                    response = error_response(503, "Try again later", headers=headers)
                    await response(scope, receive, send)
            if not is_replaced:
                await send(message)

        await self.app(scope, receive, send_after_callbacks)


def layer() -> Middleware:
    """Run the callbacks in `request.state.after_commit` of each request."""
    return Middleware(AfterCommitMiddleware)
