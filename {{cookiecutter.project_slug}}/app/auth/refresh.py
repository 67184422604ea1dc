"""Refresh tokens: opaque, for one use each, and worthless once somebody uses one again.

A token is the id of a login and a secret, of which the database has the hash alone. To use it
puts another in its place, by one statement that only one of many at the same instant can win.
Whoever comes with any other secret for a login has a token that was replaced. Either they or
whoever replaced it have stolen it, and as nobody can tell which, the login ends.

Two tabs of a browser come with the same token at the same time. So the new secret is made from
the old one and a seed, and for a few seconds whoever has the old one gets the same new one. That
way a login has one token at any time, and a thief who is that quick is found out at the next use.
Source: RFC 9700, section 4.14.2
"""

import hmac
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import Login, User

# In bytes: the id of a login, and a secret.
ID, SECRET = 16, 32

# How many logins that have expired go when one begins.
PURGE = 100

# No session holds a login that these statements would change.
UNSYNCHRONIZED = {"synchronize_session": False}

logger = logging.getLogger(__name__)


class Rotation(NamedTuple):
    """What comes of a refresh token: the token that replaces it, for whom, and for what."""

    token: str
    user: User
    scopes: str


async def start(session: AsyncSession, user: User, scopes: str, lifetime: int) -> str:
    """Begin a login of `lifetime` seconds, and return its first token."""
    now = datetime.now(UTC)
    # Without waiting for another login that is about to remove the same.
    expired = select(Login.id).where(Login.expires_at <= now).limit(PURGE)
    await _end(session, Login.id.in_(expired.with_for_update(skip_locked=True)))
    secret = token_bytes(SECRET)
    login = Login(
        user_id=user.id,
        scopes=scopes,
        expires_at=now + timedelta(seconds=lifetime),
        digest=_digest(secret),
        previous_digest=b"",
        rotated_at=now,
        seed=b"",
    )
    session.add(login)
    await session.flush()
    return _encode(login.id, secret)


async def rotate(session: AsyncSession, token: str, grace: int) -> Rotation | None:
    """Replace `token`, or end its login where it was replaced more than `grace` seconds ago.

    None: the token is worth nothing, or not any more. Commit either way.
    """
    login_id, secret = _decode(token)
    now = datetime.now(UTC)
    seed = token_bytes(SECRET)
    digest = _digest(secret)
    claim = (
        update(Login)
        .where(Login.id == login_id, Login.digest == digest)
        .values(
            digest=_digest(_successor(secret, seed)),
            previous_digest=digest,
            rotated_at=now,
            seed=seed,
        )
        .returning(Login.id)
    )
    claimed = await session.scalar(claim, execution_options=UNSYNCHRONIZED) is not None
    login = await session.get(Login, login_id)
    if login is None or login.expires_at <= now:
        return None
    user = await session.get_one(User, login.user_id)
    if not claimed:
        is_late = now - login.rotated_at > timedelta(seconds=grace)
        if login.previous_digest != digest or is_late or not grace:
            logger.warning("a refresh token was used again: the login of %s ends", user.id)
            await _end(session, Login.id == login_id)
            return None
    if not user.is_active:
        await _end(session, Login.id == login_id)
        return None
    return Rotation(_encode(login_id, _successor(secret, login.seed)), user, login.scopes)


async def revoke(session: AsyncSession, token: str) -> None:
    """End the login that `token` is of, also where it was replaced."""
    login_id, _ = _decode(token)
    await _end(session, Login.id == login_id)


async def _end(session: AsyncSession, which: ColumnElement[bool]) -> None:
    await session.execute(delete(Login).where(which), execution_options=UNSYNCHRONIZED)


def _digest(secret: bytes) -> bytes:
    # Nobody can guess 32 random bytes, however fast they try: this need not be slow.
    return sha256(secret).digest()


def _successor(secret: bytes, seed: bytes) -> bytes:
    # Neither who has read the database nor who has an old token can tell the next one.
    return hmac.digest(seed, secret, "sha256")


def _encode(login_id: UUID, secret: bytes) -> str:
    return urlsafe_b64encode(login_id.bytes + secret).decode()


def _decode(token: str) -> tuple[UUID, bytes]:
    # What was never a token is one of no login.
    try:
        value = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        value = b""
    return UUID(bytes=value[:ID].ljust(ID, b"\0")), value[ID:]
