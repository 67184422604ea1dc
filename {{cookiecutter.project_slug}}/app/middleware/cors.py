"""Which web pages may call this service from a browser."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationInfo, field_validator
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app.core.settings import CoreSettings, StringList

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


def layer(settings: CORSSettings, *, expose_headers: Sequence[str] = ()) -> Middleware:
    """Answer preflights, and name the allowed origin on every other answer.

    `expose_headers`: the headers that a script may read. Source: https://fetch.spec.whatwg.org
    """
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.backend_cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        allow_credentials=settings.cors_allow_credentials,
        expose_headers=expose_headers,
    )
