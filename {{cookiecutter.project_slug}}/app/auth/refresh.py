"""Refresh tokens: opaque, usable once, with detection of reuse.

A token consists of the id of a login and a secret. The database stores only the hash of the
secret. Using a token replaces it by one UPDATE, of which only one succeeds if several requests
use the token at the same time. A request with any other secret uses a token that was replaced
before. Either this client or the one that replaced it has stolen the token. The service cannot
tell which, so it ends the login.

Two tabs of a browser may send the same token at the same time. Therefore the new secret is derived
from the old one and a seed, and for a few seconds the old token returns the same new token again.
So a login has one current token at any time, and a thief who is that fast is detected at the next
use. Source: RFC 9700, section 4.14.2
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

# The sizes of a login id and of a secret, in bytes.
ID, SECRET = 16, 32

# The maximum number of expired logins that a new login deletes.
PURGE = 100

# The sessions hold no objects that these statements change.
UNSYNCHRONIZED = {"synchronize_session": False}

logger = logging.getLogger(__name__)


class Rotation(NamedTuple):
    """The result of using a refresh token: the new token, its user, and the scopes of the login."""

    token: str
    user: User
    scopes: str


async def start(session: AsyncSession, user: User, scopes: str, lifetime: int) -> str:
    """Start a login that expires after `lifetime` seconds. Return its first refresh token.

    `scopes`: the scopes of its access tokens, separated by spaces.
    """
    now = datetime.now(UTC)
    # SKIP LOCKED, so that concurrent logins do not wait for each other to delete the same rows.
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
    """Replace `token`. If it was replaced more than `grace` seconds ago, end its login instead.

    Returns None if the token is not valid. The caller must commit in either case.
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
            logger.warning("refresh token reused; ended a login of user %s", user.id)
            await _end(session, Login.id == login_id)
            return None
    if not user.is_active:
        await _end(session, Login.id == login_id)
        return None
    return Rotation(_encode(login_id, _successor(secret, login.seed)), user, login.scopes)


async def revoke(session: AsyncSession, token: str) -> None:
    """End the login of `token`, even if the token was replaced. Unknown tokens are ignored."""
    login_id, _ = _decode(token)
    await _end(session, Login.id == login_id)


async def revoke_all(session: AsyncSession, user_id: UUID, *, keep: UUID | None = None) -> None:
    """End all logins of a user, except the one with the id `keep`."""
    which = Login.user_id == user_id
    await _end(session, which if keep is None else which & (Login.id != keep))


def login_id(token: str) -> UUID:
    """Return the id of the login that a refresh token belongs to."""
    return _decode(token)[0]


async def _end(session: AsyncSession, which: ColumnElement[bool]) -> None:
    await session.execute(delete(Login).where(which), execution_options=UNSYNCHRONIZED)


def _digest(secret: bytes) -> bytes:
    # A fast hash suffices, because 32 random bytes cannot be guessed.
    return sha256(secret).digest()


def _successor(secret: bytes, seed: bytes) -> bytes:
    # Deriving the next secret takes both the old secret and the seed, so neither a copy of the
    # database nor an old token is enough.
    return hmac.digest(seed, secret, "sha256")


def _encode(login_id: UUID, secret: bytes) -> str:
    return urlsafe_b64encode(login_id.bytes + secret).decode()


def _decode(token: str) -> tuple[UUID, bytes]:
    # A malformed token yields an id that no login has.
    try:
        value = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        value = b""
    return UUID(bytes=value[:ID].ljust(ID, b"\0")), value[ID:]
