"""Request bodies have a size limit."""

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import error_response
from app.core.settings import CoreSettings

MESSAGE = "The request body is too large"


class BodyLimitSettings(CoreSettings):
    """`MAX_BODY_SIZE` (1048576): the largest request body, in bytes."""

    max_body_size: int = Field(default=1_048_576, ge=0)


class BodyLimitMiddleware:
    """Answer 413 to a request body of more than `max_body_size` bytes.

    A body that declares its length is refused before the application runs; any other is counted
    as it is read. Source: RFC 9110, section 15.5.14.
    """

    def __init__(self, app: ASGIApp, *, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        for name, value in scope["headers"]:
            # Servers refuse a length that is no number.
            if name == b"content-length" and int(value) > self.max_body_size:
                await error_response(413, MESSAGE)(scope, receive, send)
                return

        received = 0
        started = refused = False

        async def receive_with_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_size:
                raise HTTPException(413, MESSAGE)
            return message

        async def send_with_limit(message: Message) -> None:
            nonlocal started, refused
            if message["type"] == "http.response.start":
                started = True
                # Not every layer passes the exception on as it is: BaseHTTPMiddleware puts it in a
                # group, which routes then answer with 400. What succeeded all the same may pass.
                refused = received > self.max_body_size and 400 <= message["status"] != 413
                if refused:
                    await error_response(413, MESSAGE)(scope, receive, send)
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive_with_limit, send_with_limit)
        except Exception:
            if started or received <= self.max_body_size:
                raise
            await error_response(413, MESSAGE)(scope, receive, send)


def layer(settings: BodyLimitSettings) -> Middleware:
    """Refuse bodies of more than `MAX_BODY_SIZE` bytes."""
    return Middleware(BodyLimitMiddleware, max_body_size=settings.max_body_size)
