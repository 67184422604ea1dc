"""API keys: every path that is not public requires one."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from fastapi import FastAPI
from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import error_response
from app.core.paths import LIVENESS, READINESS, route_path
from app.core.settings import CoreSettings, SecretList, StringList, is_weak

# Shorter keys are reported as a risk. In characters.
MINIMUM_LENGTH = 16

PUBLIC_PATHS = ["/", "/docs", "/redoc", "/openapi.json", LIVENESS, READINESS]


class APIKeySettings(CoreSettings):
    """API keys.

    `API_KEY_ENABLED` (true): require an API key.
    `API_KEYS` (none): the keys that are accepted; several while one is being replaced. `API_KEY` is
    read too. Required unless `API_KEY_ENABLED` is false.
    `API_KEY_PUBLIC_PATHS` (/,/docs,/redoc,/openapi.json,/healthz,/readyz): the paths that need no
    key, with all paths below them; `/` matches only itself.
    """

    api_key_enabled: bool = True
    api_keys: SecretList = Field(
        default=[], validate_default=True, validation_alias=AliasChoices("api_keys", "api_key")
    )
    api_key_public_paths: StringList = PUBLIC_PATHS

    @field_validator("api_keys")
    @classmethod
    def _check_api_keys(cls, keys: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        remedy = 'make one with python -c "import secrets; print(secrets.token_urlsafe(32))"'
        if not info.data.get("api_key_enabled"):
            return keys
        if not keys:
            raise ValueError(f"needs at least one key, unless API_KEY_ENABLED=false; {remedy}")
        values = [key.get_secret_value() for key in keys]
        if any(map(is_weak, values)) and not info.data.get("debug"):
            raise ValueError(
                f"contains the placeholder of .env.example or a key that repeats; {remedy}"
            )
        if not all(value.isascii() and value.isprintable() and value.strip() for value in values):
            raise ValueError(f"must contain only printable ASCII characters; {remedy}")
        return keys

    def risks(self) -> Iterator[str]:
        if not self.api_key_enabled:
            yield "API_KEY_ENABLED: accepts requests without a key; set it to true"
        if any(len(key) < MINIMUM_LENGTH for key in self.api_keys):
            yield f"API_KEYS: can be guessed; use {MINIMUM_LENGTH} random characters or more"
        yield from super().risks()


class APIKeyMiddleware:
    """Rejects requests and WebSocket handshakes without a valid `X-API-Key` header with a 401.

    `keys`: the valid keys. `public_paths`: paths that need no key, with all paths below them; `/`
    matches only itself.
    Source: RFC 9110, section 15.5.2; https://spec.openapis.org/oas/v3.1.0#security-scheme-object
    """

    def __init__(
        self, app: ASGIApp, *, keys: Sequence[SecretStr], public_paths: Collection[str]
    ) -> None:
        self.app = app
        self.salt = os.urandom(32)
        self.digests = frozenset(self.digest(key.get_secret_value().encode()) for key in keys)
        self.is_public = _create_matcher(public_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] not in ("http", "websocket")
            or self.has_key(scope)
            or self.is_public(route_path(scope))
        ):
            await self.app(scope, receive, send)
        else:
            headers = {"WWW-Authenticate": "APIKey"}
            await error_response(401, "Invalid API key", headers=headers)(scope, receive, send)

    def digest(self, key: bytes) -> bytes:
        # With a secret salt, the time of comparing digests reveals nothing about the keys, so one
        # look-up in a set is safe for any number of them.
        return blake2b(key, key=self.salt).digest()

    def has_key(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name == b"x-api-key"]
        return len(values) == 1 and self.digest(values[0]) in self.digests


def layer(settings: APIKeySettings) -> Middleware | None:
    """Require an API key, unless `API_KEY_ENABLED` is false."""
    if not settings.api_key_enabled:
        return None
    return Middleware(
        APIKeyMiddleware, keys=settings.api_keys, public_paths=settings.api_key_public_paths
    )


def document(app: FastAPI, settings: APIKeySettings) -> None:
    """Declare the API key in OpenAPI, so that `/docs` has an Authorize button.

    Source: https://fastapi.tiangolo.com/how-to/extending-openapi/
    """
    is_public = _create_matcher(settings.api_key_public_paths)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["APIKey"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        for path, operations in schema["paths"].items():
            if not is_public(path):
                for operation in operations.values():
                    others = operation.get("security", [{}])
                    operation["security"] = [{**other, "APIKey": []} for other in others]
        return schema

    if settings.api_key_enabled:
        app.openapi = openapi  # type: ignore[method-assign]


def _create_matcher(public_paths: Collection[str]) -> Callable[[str], bool]:
    public = frozenset(path.rstrip("/") or "/" for path in public_paths)
    depth = max((path.count("/") for path in public), default=0)

    def is_public(path: str) -> bool:
        if path in public:
            return True
        if "/." in path or "//" in path:
            return False
        # At most as many segments as the longest public path has, for a path of any length.
        parts = path.split("/", depth + 1)[: depth + 1]
        return any("/".join(parts[:end]) in public for end in range(2, len(parts) + 1))

    return is_public
