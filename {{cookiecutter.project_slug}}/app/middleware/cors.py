"""Which web pages may call this service from a browser."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationInfo, field_validator
from starlette.middleware import Middleware, cors
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.settings import CoreSettings, StringList

VARY = (b"vary", b"Origin")

# As browsers send it: in lower case.
_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?").fullmatch


class CORSSettings(CoreSettings):
    """What a page of another origin may do.

    `BACKEND_CORS_ORIGINS` (none): origins, such as `https://example.com`, or `*` for any.
    `CORS_ALLOW_CREDENTIALS` (true): let their requests carry cookies and `Authorization`.
    """

    cors_allow_credentials: bool = True
    backend_cors_origins: StringList = []

    @field_validator("backend_cors_origins")
    @classmethod
    def _check_origins(cls, origins: list[str], info: ValidationInfo) -> list[str]:
        if "*" in origins and info.data.get("cors_allow_credentials"):
            raise ValueError(
                "any site could act as its visitor: name the origins in place of *, "
                "or set CORS_ALLOW_CREDENTIALS=false"
            )
        if any(origin != "*" and not _is_origin(origin) for origin in origins):
            raise ValueError(
                "an origin is a scheme and a host, in lower case, with no path and no wildcard: "
                "https://example.com"
            )
        return origins

    def risks(self) -> Iterator[str]:
        if "*" in self.backend_cors_origins:
            yield "BACKEND_CORS_ORIGINS: any page may call: name the origins in place of *"
        if any("://localhost" in origin for origin in self.backend_cors_origins):
            yield "BACKEND_CORS_ORIGINS: has localhost, of development: name the origins of pages"
        yield from super().risks()


class CORSMiddleware(cors.CORSMiddleware):
    """Answer preflights, and name the allowed origin on every other answer.

    Starlette's, which does the former. The latter is ours, with the headers ready beforehand: one
    at a time, as it sets them, they take a fifth of a bare request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allow_origins: Sequence[str],
        allow_credentials: bool,
        expose_headers: Sequence[str],
    ) -> None:
        super().__init__(
            app,
            allow_origins=allow_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=allow_credentials,
            expose_headers=expose_headers,
        )
        headers = [(name.lower(), value) for name, value in self.simple_headers.items()]
        self.headers = [VARY, *((name.encode(), value.encode()) for name, value in headers)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await super().__call__(scope, receive, send)
            return

        additions = self.headers_for(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                replaced = {name for name, _ in additions if name != b"vary"}
                headers = [pair for pair in message.get("headers", ()) if pair[0] not in replaced]
                message["headers"] = [*headers, *additions]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def headers_for(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        for name, value in scope["headers"]:
            if name == b"origin":
                if self.allow_all_origins or not self.is_allowed_origin(value.decode("latin-1")):
                    return self.headers
                return [*self.headers, (b"access-control-allow-origin", value)]
        return [VARY]


def layer(settings: CORSSettings, *, expose_headers: Sequence[str] = ()) -> Middleware:
    """Answer preflights, and name the allowed origin on every other answer.

    `expose_headers`: the headers that a script may read. Source: https://fetch.spec.whatwg.org
    """
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.backend_cors_origins,
        allow_credentials=settings.cors_allow_credentials,
        expose_headers=expose_headers,
    )
