"""Users who log in with a password."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.exc import IntegrityError

from app.api.dependencies import DbSession
from app.auth.accounts import AddressLimit, AppPasswords
from app.auth.models import Account
from app.auth.passwords import NewPassword
from app.db.errors import is_unique_violation

router = APIRouter(prefix="/users", tags=["users"])

Username = Annotated[
    str,
    # Nothing that looks like another: these are ASCII, and lower case.
    StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._@+-]+$", to_lower=True),
]


class AccountIn(BaseModel):
    """Who somebody wants to be. An e-mail address will do as a user name."""

    username: Username
    password: NewPassword


class AccountOut(BaseModel):
    """A user."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    username: str


@router.post("", status_code=201)
async def create_account(
    data: AccountIn, session: DbSession, passwords: AppPasswords, limit: AddressLimit
) -> AccountOut:
    """Become a user."""
    account = Account(username=data.username, password_hash=await passwords.hash(data.password))
    session.add(account)
    try:
        await session.flush()
    except IntegrityError as error:
        if is_unique_violation(error):
            raise HTTPException(409, "There is a user of this name already") from None
        raise
    return AccountOut.model_validate(account)
