import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Mapped, mapped_column

from app.config import Settings
from app.db.base import Base, UTCDateTime
from app.db.models import Item
from app.db.sessions import connect, create_sessions

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("moment", [NOON, NOON.astimezone(timezone(timedelta(hours=5)))])
def test_moment_comes_back_in_utc(make_settings: Callable[..., Settings], moment: datetime) -> None:
    async def run() -> Item | None:
        async with connect(make_settings()) as engine:
            sessions = create_sessions(engine)
            async with sessions.begin() as session:
                session.add(Item(name="x", description="", created_at=moment))
            async with sessions() as session:
                return await session.get(Item, 1)

    item = asyncio.run(run())
    assert item is not None
    assert item.created_at == NOON
    assert item.created_at.tzinfo is UTC


@pytest.mark.usefixtures("database")
def test_what_the_server_computes_can_be_read_after_a_flush(
    make_settings: Callable[..., Settings],
) -> None:
    class Computed(Base):
        __tablename__ = "computed"

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        made_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
        changed_at: Mapped[datetime | None] = mapped_column(onupdate=func.current_timestamp())

    async def run() -> None:
        async with connect(make_settings()) as engine:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all, [table])
            async with create_sessions(engine).begin() as session:
                computed = Computed(name="a")
                session.add(computed)
                await session.flush()
                assert computed.made_at
                assert computed.changed_at is None
                computed.name = "b"
                await session.flush()
                assert computed.changed_at
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.drop_all, [table])

    table = Base.metadata.tables["computed"]
    try:
        asyncio.run(run())
    finally:
        Base.metadata.remove(table)


def test_moment_without_a_time_zone_is_rejected() -> None:
    with pytest.raises(ValueError, match="time zone"):
        UTCDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())


def test_nothing_stays_nothing() -> None:
    assert UTCDateTime().process_bind_param(None, sqlite.dialect()) is None
    assert UTCDateTime().process_result_value(None, sqlite.dialect()) is None
