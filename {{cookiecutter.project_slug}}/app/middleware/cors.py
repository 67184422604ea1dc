"""Let web pages of other origins call this service from a browser."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationInfo, field_validator
from starlette.middleware import Middleware, cors
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.settings import CoreSettings, StringList

# A route names here what it created, or what a client can ask for later.
RESPONSE_HEADERS = ("Location",)

VARY = (b"vary", b"Origin")

# As browsers send it: in lower case.
_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?").fullmatch
_is_header_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


class CORSSettings(CoreSettings):
    """What pages of other origins may do.

    `BACKEND_CORS_ORIGINS` (none): the origins of other pages that may call, such as
    `https://example.com`, or `*` for any.
    `CORS_ALLOW_CREDENTIALS` (true): allow their requests to carry cookies and `Authorization`.
    `CORS_EXPOSE_HEADERS` (none): more response headers that their scripts may read, such as
    `ETag,Link`.
    `CORS_ALLOW_PRIVATE_NETWORK` (false): allow pages of the public internet to call this service
    in a private network.
    """

    cors_allow_credentials: bool = True
    cors_allow_private_network: bool = False
    cors_expose_headers: StringList = []
    backend_cors_origins: StringList = []

    @field_validator("cors_expose_headers")
    @classmethod
    def _check_expose_headers(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if not all(_is_header_name(name) for name in names):
            raise ValueError("must be names of headers, such as ETag,Link")
        if "*" in names and info.data.get("cors_allow_credentials"):
            raise ValueError(
                "must list headers instead of *, which browsers ignore for requests with "
                "credentials, or set CORS_ALLOW_CREDENTIALS=false"
            )
        return names

    @field_validator("backend_cors_origins")
    @classmethod
    def _check_origins(cls, origins: list[str], info: ValidationInfo) -> list[str]:
        if "*" in origins and info.data.get("cors_allow_credentials"):
            raise ValueError(
                "must list origins instead of *, with which any website could act on behalf of "
                "its visitors, or set CORS_ALLOW_CREDENTIALS=false"
            )
        if any(origin != "*" and not _is_origin(origin) for origin in origins):
            raise ValueError(
                "must be origins in lower case, without a path or a wildcard, such as "
                "https://example.com"
            )
        return origins

    def risks(self) -> Iterator[str]:
        if "*" in self.backend_cors_origins:
            yield "BACKEND_CORS_ORIGINS: accepts any page; list the origins instead of *"
        if any("://localhost" in origin for origin in self.backend_cors_origins):
            yield "BACKEND_CORS_ORIGINS: accepts localhost, which is for development; remove it"
        if self.cors_allow_private_network:
            yield (
                "CORS_ALLOW_PRIVATE_NETWORK: lets pages of the internet reach a private network; "
                "set it to false unless that is intended"
            )
        yield from super().risks()


class CORSMiddleware(cors.CORSMiddleware):
    """Responds to preflights, and names the allowed origin on every other response.

    Starlette responds to preflights. The headers of other responses are encoded here once, instead
    of for each response.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allow_origins: Sequence[str],
        allow_credentials: bool,
        allow_private_network: bool,
        expose_headers: Sequence[str],
    ) -> None:
        super().__init__(
            app,
            allow_origins=allow_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=allow_credentials,
            allow_private_network=allow_private_network,
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
    """Respond to preflights, and name the allowed origin on every other response.

    `expose_headers`: the response headers of other layers that a script may read.
    Source: https://fetch.spec.whatwg.org; Private Network Access, a draft of the WICG
    """
    names = [*RESPONSE_HEADERS, *expose_headers, *settings.cors_expose_headers]
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.backend_cors_origins,
        allow_credentials=settings.cors_allow_credentials,
        allow_private_network=settings.cors_allow_private_network,
        expose_headers=list(dict.fromkeys(names)),
    )
