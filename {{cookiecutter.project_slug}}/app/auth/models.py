"""The tables of users and logins."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class User(Base):
    """A user who logs in with a password.

    `scopes`: the scopes that the user's access tokens may have, separated by spaces.
    """

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    scopes: Mapped[str] = mapped_column(String(1000), default="")
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Login(Base):
    """An active login, with its current refresh token.

    `scopes`: the scopes of its access tokens, separated by spaces. `digest`: the hash of the
    secret in the current refresh token. `previous_digest`: the hash of the secret that it
    replaced at `rotated_at`. `seed`: derives the current secret from the previous one.
    """

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    scopes: Mapped[str] = mapped_column(String(1000))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    previous_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    rotated_at: Mapped[datetime]
    seed: Mapped[bytes] = mapped_column(LargeBinary(32))
