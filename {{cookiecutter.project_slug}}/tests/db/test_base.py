import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from app.config import Settings
from app.db.base import UTCDateTime
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


def test_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        UTCDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())


def test_nothing_stays_nothing() -> None:
    assert UTCDateTime().process_bind_param(None, sqlite.dialect()) is None
    assert UTCDateTime().process_result_value(None, sqlite.dialect()) is None
