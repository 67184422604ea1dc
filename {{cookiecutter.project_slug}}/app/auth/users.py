"""The parts of the application that serve users, and the dependencies that routes get them by."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from app.auth.issue import JWTSettings
from app.auth.login_limit import LoginLimit
from app.auth.passwords import Passwords
from app.limits.limit import Limit, Limiter


def set_up(app: FastAPI, settings: JWTSettings, limiter: Limiter) -> None:
    """Add what the routes of users and tokens need to `app.state`.

    `limiter`: counts login attempts.
    """
    app.state.passwords = Passwords(settings)
    app.state.login_limit = LoginLimit(
        by_name=Limit.parse(settings.login_limit),
        by_address=Limit.parse(settings.login_limit_address),
        limiter=limiter,
    )
    _document(app, f"{settings.api_prefix}/token")


async def get_settings(request: Request) -> JWTSettings:
    """Return the settings of the application."""
    settings: JWTSettings = request.app.state.settings
    return settings


async def get_passwords(request: Request) -> Passwords:
    """Return what hashes passwords."""
    passwords: Passwords = request.app.state.passwords
    return passwords


async def get_login_limit(request: Request) -> LoginLimit:
    """Return the limit of tries, once this one is counted for the address that it comes from."""
    limit: LoginLimit = request.app.state.login_limit
    # A server on a Unix socket has no address: its clients are one.
    await limit.check_address(request.client.host if request.client else "")
    return limit


AppSettings = Annotated[JWTSettings, Depends(get_settings)]
AppPasswords = Annotated[Passwords, Depends(get_passwords)]
AddressLimit = Annotated[LoginLimit, Depends(get_login_limit)]


def _document(app: FastAPI, token_path: str) -> None:
    # With the address of the login in OpenAPI, /docs asks for a user name and a password.
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        operations = [each for path in schema["paths"].values() for each in path.values()]
        securities = [each for operation in operations for each in operation.get("security", [])]
        scopes = {scope: "" for security in securities for scope in security.get("Bearer", [])}
        # Relative: there may be a proxy with a path of its own before it.
        flow = {"tokenUrl": token_path.lstrip("/"), "scopes": scopes}
        schemes = schema["components"]["securitySchemes"]
        schemes["Bearer"] = {"type": "oauth2", "flows": {"password": flow}}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
