"""Two examples of a middleware of your own: a function, and a class.

`add_header` is a function. It is quick to write, and uses Starlette's `Request` and `Response`. It
does not run for WebSockets, and adds a fraction of a millisecond to each request, because
`BaseHTTPMiddleware` runs the application in a separate task. In an application in a single file,
the same function is decorated with `@app.middleware("http")`.

`AddHeaderMiddleware` is a plain ASGI class. It can handle WebSockets, its overhead is negligible,
and it does not delay streaming responses. Prefer it for everything that runs on each request.
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
    """The example middleware.

    `EXAMPLE_HEADER` (example): the value of the headers that it adds.
    """

    example_header: str = "example"

    @field_validator("example_header")
    @classmethod
    def _check_example_header(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()):
            raise ValueError("must contain only printable ASCII characters")
        return value


async def add_header(
    request: Request, call_next: RequestResponseEndpoint, *, value: str
) -> Response:
    """Add the header `X-Example-Function` with `value` to every response."""
    response = await call_next(request)
    response.headers["X-Example-Function"] = value
    return response


class AddHeaderMiddleware:
    """Adds the header `X-Example-Class` with `value` to every response."""

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
    """Add a header by each of the two examples. Keep the one that you need."""
    return [
        Middleware(BaseHTTPMiddleware, dispatch=partial(add_header, value=settings.example_header)),
        Middleware(AddHeaderMiddleware, value=settings.example_header),
    ]
