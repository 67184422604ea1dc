"""How to write a middleware of your own, in the two ways there are.

`add_header` is a function. It is the quickest to write and has Starlette's `Request` and
`Response` at hand. Choose it where a request may cost a fraction of a millisecond more and no
WebSocket is concerned: it runs behind `BaseHTTPMiddleware`, which moves the application into a
task of its own. In a single-file application the same function goes under
`@app.middleware("http")`.

`AddHeaderMiddleware` is plain ASGI. It sees WebSockets too, costs next to nothing, and passes
every message on as it comes. Choose it for anything that each request goes through.
Source: https://www.starlette.io/middleware/#pure-asgi-middleware
"""

from functools import partial

from pydantic import field_validator
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.settings import CoreSettings


class ExampleSettings(CoreSettings):
    """`EXAMPLE_HEADER` (example): the value of the headers."""

    example_header: str = "example"

    @field_validator("example_header")
    @classmethod
    def _check_example_header(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()):
            raise ValueError("a header carries printable ASCII only")
        return value


async def add_header(
    request: Request, call_next: RequestResponseEndpoint, *, value: str
) -> Response:
    """Add `X-Example-Function: value` to every answer."""
    response = await call_next(request)
    response.headers["X-Example-Function"] = value
    return response


class AddHeaderMiddleware:
    """Add `X-Example-Class: value` to every answer."""

    def __init__(self, app: ASGIApp, *, value: str) -> None:
        self.app = app
        self.header = (b"x-example-class", value.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), self.header]
            await send(message)

        await self.app(scope, receive, send_with_header)


def layers(settings: ExampleSettings) -> list[Middleware]:
    """The same header, twice: keep the way that you need."""
    return [
        Middleware(BaseHTTPMiddleware, dispatch=partial(add_header, value=settings.example_header)),
        Middleware(AddHeaderMiddleware, value=settings.example_header),
    ]
