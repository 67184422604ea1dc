"""Registration of users, who log in with a password."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.exc import IntegrityError

from app.api.dependencies import DbSession
from app.auth.models import User
from app.auth.passwords import NewPassword
from app.auth.users import AddressLimit, AppPasswords
from app.db.errors import is_unique_violation

router = APIRouter(prefix="/users", tags=["users"])

Username = Annotated[
    str,
    # ASCII in lower case, so that no name looks like another one.
    StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._@+-]+$", to_lower=True),
]


class UserIn(BaseModel):
    """The user to register.

    `username` may be an e-mail address. It is unique and not case-sensitive.
    """

    username: Username
    password: NewPassword


class UserOut(BaseModel):
    """A registered user."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    username: str


@router.post("", status_code=201)
async def create_user(
    data: UserIn, session: DbSession, passwords: AppPasswords, limit: AddressLimit
) -> UserOut:
    """Register a new user account.

    Responds with 409 if the user name is taken, and with 429 after too many attempts from one
    client address.
    """
    user = User(username=data.username, password_hash=await passwords.hash(data.password))
    session.add(user)
    try:
        await session.flush()
    except IntegrityError as error:
        if is_unique_violation(error):
            raise HTTPException(409, "A user with this name already exists") from None
        raise
    return UserOut.model_validate(user)
