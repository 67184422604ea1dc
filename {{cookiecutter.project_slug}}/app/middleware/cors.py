"""Let web pages of other origins call this service from a browser."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationInfo, field_validator
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app.core.settings import CoreSettings, StringList

# A route names here what it created, or what a client can ask for later.
RESPONSE_HEADERS = ("Location",)

# As browsers send it: in lower case.
_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?").fullmatch
_is_header_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


class CORSSettings(CoreSettings):
    """What pages of other origins may do.

    `BACKEND_CORS_ORIGINS` (none): their origins, such as `https://example.com`, or `*` for any.
    `CORS_ALLOW_CREDENTIALS` (true): their requests may carry cookies and `Authorization`.
    `CORS_EXPOSE_HEADERS` (none): response headers that their scripts may read besides `Location`
    and those that the layers of this service add, such as `ETag,Link`.
    `CORS_ALLOW_PRIVATE_NETWORK` (false): pages of the public internet may call this service in a
    private network.
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


def layer(settings: CORSSettings, *, expose_headers: Sequence[str] = ()) -> Middleware:
    """Respond to preflights, and name the allowed origin on every other response.

    `expose_headers`: the response headers of other layers that a script may read.
    Source: https://fetch.spec.whatwg.org, https://wicg.github.io/private-network-access
    """
    names = [*RESPONSE_HEADERS, *expose_headers, *settings.cors_expose_headers]
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.backend_cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        allow_credentials=settings.cors_allow_credentials,
        allow_private_network=settings.cors_allow_private_network,
        expose_headers=list(dict.fromkeys(names)),
    )
