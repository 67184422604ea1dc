import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db import idle
from app.db.postgresql import DatabaseSettings, create_engine
from tests.fixtures.postgresql import SERVER, connect

TERMINATE = "SELECT pg_terminate_backend(%s, 5000)"


@pytest.fixture
def admin() -> Any:
    """A connection that can terminate others."""
    if (connection := connect()) is None:
        pytest.skip("PostgreSQL does not respond: set TEST_DATABASE_URL")
    with connection:
        yield connection


def run(function: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def use() -> None:
        url = SecretStr(SERVER)
        engine = create_engine(DatabaseSettings(database_url=url, database_pool_size=3))
        try:
            await function(engine)
        finally:
            await engine.dispose()

    asyncio.run(use())


async def find_pid(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)


def test_dead_connections_are_replaced(admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def use(engine: AsyncEngine) -> None:
        ping = engine.dialect.do_ping

        def count(connection: Any) -> bool:
            asked.append(connection)
            return ping(connection)

        monkeypatch.setattr(engine.dialect, "do_ping", count)
        connections = [await engine.connect() for _ in range(3)]
        pids = [await one.scalar(text("SELECT pg_backend_pid()")) for one in connections]
        for one in connections:
            await one.close()
        for pid in pids:
            assert admin.execute(TERMINATE, [pid]).fetchone() == (True,)
        for _ in range(3):
            assert await find_pid(engine) not in pids
        # The first that is dead shows that all of them are.
        assert len(asked) == 1

    monkeypatch.setattr(idle, "IDLE", 0.0)
    run(use)


def test_busy_connections_are_not_asked(admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(engine: AsyncEngine) -> None:
        pid = await find_pid(engine)
        assert await find_pid(engine) == pid
        assert admin.execute(TERMINATE, [pid]).fetchone() == (True,)
        with pytest.raises(DBAPIError) as error:
            await find_pid(engine)
        assert error.value.connection_invalidated

    # However slow the machine is.
    monkeypatch.setattr(idle, "IDLE", 3600.0)
    run(use)
