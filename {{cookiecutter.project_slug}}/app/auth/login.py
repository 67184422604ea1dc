"""Set-up and dependencies of the routes that register users and issue tokens."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from app.auth.issue import JWTSettings
from app.auth.login_limit import LoginLimit
from app.auth.passwords import Passwords
from app.core.client_address import client_network
from app.limits.limit import Limit, Limiter


def set_up(app: FastAPI, settings: JWTSettings, limiter: Limiter) -> None:
    """Create the password hasher and the login limit, and document the login in OpenAPI.

    `limiter`: counts login attempts.
    """
    app.state.passwords = Passwords(settings)
    app.state.login_limit = LoginLimit(
        by_name=Limit.parse(settings.login_limit),
        by_address=Limit.parse(settings.login_limit_address),
        limiter=limiter,
    )
    _document(app, f"{settings.api_prefix}/token")


async def get_passwords(request: Request) -> Passwords:
    """Return the password hasher of the application."""
    passwords: Passwords = request.app.state.passwords
    return passwords


async def get_login_limit(request: Request) -> LoginLimit:
    """Count an attempt for the client's address, and return the limit.

    Raises a 429 if the address has made too many attempts.
    """
    limit: LoginLimit = request.app.state.login_limit
    await limit.check_address(client_network(request.scope))
    return limit


AppPasswords = Annotated[Passwords, Depends(get_passwords)]
AddressLimit = Annotated[LoginLimit, Depends(get_login_limit)]


def _document(app: FastAPI, token_path: str) -> None:
    # If OpenAPI names the path of the login, /docs prompts for a user name and a password.
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        operations = [each for path in schema["paths"].values() for each in path.values()]
        securities = [each for operation in operations for each in operation.get("security", [])]
        scopes = {scope: "" for security in securities for scope in security.get("Bearer", [])}
        # Relative, because a proxy may add a path prefix.
        flow = {"tokenUrl": token_path.lstrip("/"), "scopes": scopes}
        schemes = schema["components"]["securitySchemes"]
        schemes["Bearer"] = {"type": "oauth2", "flows": {"password": flow}}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
