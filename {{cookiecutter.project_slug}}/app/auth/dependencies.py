"""The user of a request, as a dependency of routes."""

import logging
from typing import Annotated

from fastapi import HTTPException, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBearer, SecurityScopes

from app.auth.tokens import TokenUser

logger = logging.getLogger(__name__)

# Only for OpenAPI, so that /docs has an Authorize button. The middleware has verified the token.
bearer = HTTPBearer(scheme_name="Bearer", bearerFormat="JWT", auto_error=False)


async def current_user(
    connection: HTTPConnection,
    required: SecurityScopes,
    _: Annotated[object, Security(bearer)],
) -> TokenUser:
    """Return the user of the request, for HTTP and WebSocket routes.

    Responds with 401 to an anonymous user, and with 403 if the token lacks a required scope.
    Source: RFC 6750, section 3
    """
    user = connection.user
    if not isinstance(user, TokenUser):
        raise HTTPException(401, "Not authenticated", headers={"WWW-Authenticate": "Bearer"})
    if not set(required.scopes).issubset(user.scopes):
        challenge = f'Bearer error="insufficient_scope", scope="{required.scope_str}"'
        message = "The access token does not allow this"
        hint = connection.app.state.settings.scope_hint()
        logger.info("refused a token: it does not allow %s%s", required.scope_str, hint)
        raise HTTPException(403, message, headers={"WWW-Authenticate": challenge})
    return user


requires_user = Security(current_user)
"""For all routes of a router: `include_router(..., dependencies=[requires_user])`."""

CurrentUser = Annotated[TokenUser, Security(current_user)]
"""The user of the request.

With scopes: `Annotated[TokenUser, Security(current_user, scopes=["items:write"])]`.
"""
