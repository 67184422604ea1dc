"""User accounts: who may log in, and with which scopes."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, StringConstraints, ValidationInfo, field_validator
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.models import User
from app.auth.passwords import NewPassword, Passwords, check_not_common
from app.db.errors import is_unique_violation

Username = Annotated[
    str,
    # ASCII in lower case, so that no name looks like another one.
    StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._@+-]+$", to_lower=True),
]


class UserIn(BaseModel):
    """The user to register.

    `username` may be an e-mail address. It is unique and not case-sensitive. `password` must not
    consist of common words, sequences, repetitions or the user name.
    """

    username: Username
    password: NewPassword

    @field_validator("password")
    @classmethod
    def _check_password(cls, password: str, info: ValidationInfo) -> str:
        check_not_common(password, info.data.get("username", ""))
        return password


class UsernameTaken(Exception):
    """Another user has this name."""


async def create_user(
    session: AsyncSession, passwords: Passwords, data: UserIn, scopes: str = ""
) -> User:
    """Create a user with `scopes`, separated by spaces. Raises UsernameTaken."""
    password_hash = await passwords.hash(data.password)
    user = User(username=data.username, password_hash=password_hash, scopes=scopes)
    session.add(user)
    try:
        await session.flush()
    except IntegrityError as error:
        if is_unique_violation(error):
            raise UsernameTaken from None
        raise
    return user


async def find_user(session: AsyncSession, username: str) -> User | None:
    """Return the user with a name in lower case, or None."""
    return await session.scalar(select(User).where(User.username == username))


async def get_user(session: AsyncSession, identity: str) -> User | None:
    """Return the user that the `sub` of an access token identifies, or None."""
    try:
        return await session.get(User, UUID(identity))
    except ValueError:
        return None
