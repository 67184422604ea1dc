"""What a route asks of its caller."""

from typing import Annotated

from fastapi import HTTPException, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBearer, SecurityScopes

from app.auth.tokens import TokenUser

# Only for OpenAPI, so that /docs has Authorize: the middleware has looked at the token already.
bearer = HTTPBearer(scheme_name="Bearer", bearerFormat="JWT", auto_error=False)


async def current_user(
    connection: HTTPConnection,
    required: SecurityScopes,
    _: Annotated[object, Security(bearer)],
) -> TokenUser:
    """Return who calls; 401 for nobody, 403 where the token does not allow all that is required.

    For HTTP and WebSocket routes. Source: RFC 6750, section 3
    """
    user = connection.user
    if not isinstance(user, TokenUser):
        raise HTTPException(401, "Not authenticated", headers={"WWW-Authenticate": "Bearer"})
    if not set(required.scopes).issubset(user.scopes):
        challenge = f'Bearer error="insufficient_scope", scope="{required.scope_str}"'
        message = "The access token does not allow this"
        raise HTTPException(403, message, headers={"WWW-Authenticate": challenge})
    return user


requires_user = Security(current_user)
"""For all routes of a router: `include_router(..., dependencies=[requires_user])`."""

CurrentUser = Annotated[TokenUser, Security(current_user)]
"""Whoever calls. With scopes: `Annotated[TokenUser, Security(current_user, scopes=["items:write"])]`."""
