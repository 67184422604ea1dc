"""Log in, refresh an access token and log out."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Request, Response
from pydantic import BaseModel, StringConstraints
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.api.dependencies import DbSession, DbSessions
from app.api.settings import AppSettings
from app.auth import refresh
from app.auth.issue import JWTSettings, issue_token
from app.auth.login import AddressLimit, AppPasswords
from app.auth.models import User
from app.auth.passwords import Password
from app.auth.users import Username, find_user
from app.core.client_address import client_network

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/token", tags=["token"])


class LoginForm(BaseModel):
    """The form of the OAuth2 password flow.

    `scope` limits the access token to some of the user's scopes, separated by spaces. By default
    it has all of them.
    """

    grant_type: Literal["password"] = "password"
    username: Username
    password: Password
    scope: Annotated[str, StringConstraints(max_length=1000)] = ""


class RefreshToken(BaseModel):
    """A refresh token returned by a previous login or refresh."""

    refresh_token: Annotated[str, StringConstraints(max_length=100)]


class Tokens(BaseModel):
    """An access token and a refresh token.

    `expires_in` is the lifetime of the access token in seconds. `scope` lists the scopes of the
    access token, separated by spaces.
    """

    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int
    refresh_token: str
    scope: str


@router.post("")
async def log_in(
    form: Annotated[LoginForm, Form()],
    session: DbSession,
    sessions: DbSessions,
    settings: AppSettings,
    passwords: AppPasswords,
    limit: AddressLimit,
    request: Request,
    response: Response,
) -> Tokens:
    """Log in with a user name and a password.

    Send the access token as `Authorization: Bearer <token>`. Responds with 401 if the user name or
    the password is wrong, and with 429 after too many attempts from one client address, for all
    user names or for this one.
    """
    # The password flow of OAuth2 (RFC 6749, section 4.3), which is only for the clients of this
    # service itself: others must not see a user's password (RFC 9700, section 2.4).
    await limit.check_name(form.username, client_network(request.scope))
    # In a session of its own, so that no connection is held while the password is verified.
    async with sessions.reading() as reading:
        known = await find_user(reading, form.username)
    is_right, new_hash = await passwords.verify(form.password, known)
    user = await _lock(session, known) if known and is_right else None
    if user is None or not user.is_active:
        logger.info("login failed")
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Wrong user name or password", headers=headers)
    if new_hash:
        user.password_hash = new_hash
    scopes = user.scopes.split()
    if form.scope:
        scopes = [scope for scope in scopes if scope in form.scope.split()]
    lifetime = settings.jwt_refresh_lifetime
    token = await refresh.start(session, user, " ".join(scopes), lifetime)
    return _create_tokens(response, settings, user, scopes, token)


@router.post("/refresh")
async def refresh_tokens(
    data: RefreshToken, sessions: DbSessions, settings: AppSettings, response: Response
) -> Tokens:
    """Exchange a refresh token for a new access token and a new refresh token.

    A refresh token can be used once; using it again ends its login. Responds with 401 if the token
    is unknown, expired, revoked or already used.
    """
    # In a session of its own, because a 401 rolls back the session of the request, and the
    # deletion of a login must be committed.
    async with sessions.begin() as session:
        rotation = await refresh.rotate(session, data.refresh_token, settings.jwt_refresh_grace)
    if rotation is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Invalid refresh token", headers=headers)
    user = rotation.user
    scopes = [scope for scope in rotation.scopes.split() if scope in user.scopes.split()]
    return _create_tokens(response, settings, user, scopes, rotation.token)


@router.post("/revoke", status_code=204)
async def revoke_token(data: RefreshToken, session: DbSession) -> None:
    """Revoke a refresh token and end its login. Unknown tokens are ignored.

    Access tokens of the login remain valid until they expire.
    """
    # Source: RFC 7009
    await refresh.revoke(session, data.refresh_token)


async def _lock(session: AsyncSession, user: User) -> User | None:
    # If the password was changed in the meantime, its change has ended the logins before this one.
    is_unchanged = (User.id == user.id) & (User.password_hash == user.password_hash)
    return await session.scalar(select(User).where(is_unchanged).with_for_update())


def _create_tokens(
    response: Response,
    settings: JWTSettings,
    user: User,
    scopes: list[str],
    refresh_token: str,
) -> Tokens:
    response.headers["Cache-Control"] = "no-store"
    login_id = refresh.login_id(refresh_token)
    return Tokens(
        access_token=issue_token(settings, user, scopes, login_id),
        expires_in=settings.jwt_access_lifetime,
        refresh_token=refresh_token,
        scope=" ".join(scopes),
    )
