"""SQLite: a file, embedded in the process. Several processes on one machine can share it."""

import os
from typing import Any

from pydantic import Field, SecretStr, field_validator
from sqlalchemy import Connection, Dialect, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.core.settings import CoreSettings
from app.db import migration_state
from app.db.pool import PoolSettings


class DatabaseSettings(PoolSettings):
    """Which file, and how long to wait for another writer.

    `DATABASE_URL` (sqlite:///app.db): a path after three slashes is relative, after four absolute.
    `DATABASE_BUSY_TIMEOUT` (10): seconds to wait while another connection writes.
    """

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///app.db")
    database_busy_timeout: float = Field(default=10, ge=0)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            # Of ours, so that no part of what was given is quoted: it may be a password.
            raise ValueError("must be a URL, such as sqlite:///app.db") from None
        if url.drivername not in ("sqlite", "sqlite+aiosqlite"):
            raise ValueError("must begin with sqlite:///")
        if not url.database or ":memory:" in url.database:
            # There, each connection would see a database of its own, or all of them one transaction.
            raise ValueError("must name a file, such as sqlite:///app.db")
        url = url.set(drivername="sqlite+aiosqlite")
        return SecretStr(url.render_as_string(hide_password=False))


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Create the engine. No connection is made until one is used.

    Source: https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#sqlite-transactions
    """
    engine = create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
        connect_args={"timeout": settings.database_busy_timeout},
        echo=settings.database_echo,
        hide_parameters=not settings.debug,
    )
    event.listen(engine.sync_engine, "do_connect", _create_file)
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


async def prepare(engine: AsyncEngine, settings: CoreSettings) -> None:
    """Bring the schema up to date, so that one command starts a service that works."""
    await migration_state.upgrade(engine, settings)


def _create_file(
    dialect: Dialect, record: ConnectionPoolEntry, arguments: list[str], options: dict[str, Any]
) -> None:
    # SQLite would let everybody on the machine read it. Its -wal and -shm files get the same mode.
    path = arguments[0]
    if not path.startswith("file:"):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))


def _configure(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    # The driver would begin a transaction before some statements only: see `_begin`.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Readers and a writer do not wait for each other. `synchronous` stays at FULL: with NORMAL
    # a commit could be lost with the power.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migration"):
        # To alter a table is to replace it, and dropping the old one would delete, by cascade,
        # the rows that refer to it.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    # A transaction that reads first and then writes fails, without waiting, where another has
    # written in between. So whatever is not known to read only waits its turn at the beginning.
    connection.exec_driver_sql("BEGIN" if options.get("read_only") else "BEGIN IMMEDIATE")
