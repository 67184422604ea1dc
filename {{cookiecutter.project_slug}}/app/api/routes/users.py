"""Registration of users, who log in with a password, and changes of that password."""

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from sqlalchemy import update

from app.api.dependencies import DbSession, DbSessions
from app.api.settings import AppSettings
from app.auth import refresh, users
from app.auth.dependencies import CurrentUser
from app.auth.login import AddressLimit, AppPasswords
from app.auth.models import User
from app.auth.passwords import NewPassword, Password, check_not_common
from app.core.client_address import client_network

router = APIRouter(prefix="/users", tags=["users"])


class UserOut(BaseModel):
    """A registered user."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    username: str


class PasswordChange(BaseModel):
    """The current password of the user, and the one that replaces it."""

    current_password: Password
    new_password: NewPassword


@router.post("", status_code=201)
async def create_user(
    data: users.UserIn,
    session: DbSession,
    settings: AppSettings,
    passwords: AppPasswords,
    limit: AddressLimit,
) -> UserOut:
    """Register a new user account.

    Responds with 403 if registration is disabled, with 409 if the user name is taken, and with 429
    after too many attempts from one client address.
    """
    if not settings.registration_enabled:
        raise HTTPException(403, "Registration is disabled")
    try:
        user = await users.create_user(session, passwords, data)
    except users.UsernameTaken:
        raise HTTPException(409, "A user with this name already exists") from None
    return UserOut.model_validate(user)


@router.put("/me/password", status_code=204)
async def change_password(
    data: PasswordChange,
    caller: CurrentUser,
    request: Request,
    session: DbSession,
    sessions: DbSessions,
    passwords: AppPasswords,
    limit: AddressLimit,
) -> None:
    """Change the password of the user, and end the user's other logins.

    Access tokens of the other logins remain valid until they expire. Responds with 403 if the
    current password is wrong, and with 429 after too many attempts, which count as attempts to log
    in.
    """
    # As in `log_in`, no connection is held while passwords are verified and hashed.
    async with sessions.reading() as reading:
        user = await users.get_user(reading, caller.identity)
    if user is None or not user.is_active:
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Not authenticated", headers=headers)
    await limit.check_name(user.username, client_network(request.scope))
    is_right, _ = await passwords.verify(data.current_password, user)
    if not is_right:
        raise HTTPException(403, "Wrong password")
    try:
        check_not_common(data.new_password, user.username)
    except ValueError as error:
        problem = {"type": "value_error", "loc": ("body", "new_password"), "msg": str(error)}
        raise RequestValidationError([problem]) from None
    new_hash = await passwords.hash(data.new_password)
    await session.execute(update(User).where(User.id == user.id).values(password_hash=new_hash))
    login_id = caller.claims.get("sid")
    await refresh.revoke_all(session, user.id, keep=UUID(login_id) if login_id else None)
