"""The tables of `/items`. `migrations/env.py` has to know every module of this kind."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base

BIGINT_MAX = 2**63 - 1


class Item(Base):
    """A thing with a name that no other has."""

    __tablename__ = "items"

    # SQLite counts up by itself only where the type is INTEGER, which has 64 bits there.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
