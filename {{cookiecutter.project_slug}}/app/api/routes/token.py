"""Logging in, staying logged in, and logging out."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Response
from pydantic import BaseModel, StringConstraints
from sqlalchemy import select, update

from app.api.dependencies import DbSession, DbSessions
from app.api.routes.users import Username
from app.auth import refresh
from app.auth.issue import JWTSettings, issue_token
from app.auth.models import User
from app.auth.passwords import Password
from app.auth.users import AddressLimit, AppPasswords, AppSettings

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/token", tags=["token"])


class LoginForm(BaseModel):
    """A user name and a password, as `/docs` and the clients of OAuth2 send them."""

    grant_type: Literal["password"] = "password"
    username: Username
    password: Password
    scope: Annotated[str, StringConstraints(max_length=1000)] = ""


class RefreshToken(BaseModel):
    """A token that was answered before."""

    refresh_token: Annotated[str, StringConstraints(max_length=100)]


class Tokens(BaseModel):
    """Credentials. `expires_in`: seconds until the access token is to be refreshed."""

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
    response: Response,
) -> Tokens:
    """Log in to this service itself. Other services should never see a user's password.

    Source: RFC 6749, section 4.3; that RFC 9700, section 2.4, says not to use for anything else
    """
    await limit.check_name(form.username)
    # On a session of its own, so that no connection is held while the password is verified.
    async with sessions(execution_options={"safe_method": True}) as reading:
        user = await reading.scalar(select(User).where(User.username == form.username))
    hashed = user.password_hash if user else None
    is_right, new_hash = await passwords.verify(form.password, hashed)
    if user is None or not is_right or not user.is_active:
        logger.info("somebody failed to log in")
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Wrong user name or password", headers=headers)
    if new_hash:
        # Unless the password was changed meanwhile.
        await session.execute(
            update(User)
            .where(User.id == user.id, User.password_hash == hashed)
            .values(password_hash=new_hash)
        )
    scopes = user.scopes.split()
    if form.scope:
        scopes = [scope for scope in scopes if scope in form.scope.split()]
    lifetime = settings.jwt_refresh_lifetime
    token = await refresh.start(session, user, " ".join(scopes), lifetime)
    return _answer(response, settings, user, scopes, token)


@router.post("/refresh")
async def refresh_tokens(
    data: RefreshToken, sessions: DbSessions, settings: AppSettings, response: Response
) -> Tokens:
    """Exchange a refresh token, which is good for once, for new tokens."""
    # Not the session of the request, which a 401 rolls back: what ends a login has to stay.
    async with sessions.begin() as session:
        rotation = await refresh.rotate(session, data.refresh_token, settings.jwt_refresh_grace)
    if rotation is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Invalid refresh token", headers=headers)
    user = rotation.user
    scopes = [scope for scope in rotation.scopes.split() if scope in user.scopes.split()]
    return _answer(response, settings, user, scopes, rotation.token)


@router.post("/revoke", status_code=204)
async def revoke_token(data: RefreshToken, session: DbSession) -> None:
    """Log out. What was no token is none afterwards. Source: RFC 7009"""
    await refresh.revoke(session, data.refresh_token)


def _answer(
    response: Response,
    settings: JWTSettings,
    user: User,
    scopes: list[str],
    refresh_token: str,
) -> Tokens:
    response.headers["Cache-Control"] = "no-store"
    return Tokens(
        access_token=issue_token(settings, user, scopes),
        expires_in=settings.jwt_access_lifetime,
        refresh_token=refresh_token,
        scope=" ".join(scopes),
    )
