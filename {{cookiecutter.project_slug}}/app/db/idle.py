"""Connections that died while they idled: replaced before a request uses one."""

from time import monotonic

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

# Seconds. SQLAlchemy's `pool_pre_ping` asks the server once more for every request; this one only
# after a pause, so that a busy service pays nothing.
IDLE = 1.0


def check_idle_connections(engine: AsyncEngine) -> None:
    """Ask a connection that idled for `IDLE` seconds or more whether it is alive.

    If it is not, the pool replaces it, and all others that are as old, before the request goes on.
    """
    dialect = engine.dialect

    def note(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        entry.info["idle_since"] = monotonic()

    def check(
        connection: DBAPIConnection, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        idle_since = entry.info.get("idle_since")
        if idle_since is None or monotonic() - idle_since < IDLE:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", note)
    event.listen(engine.sync_engine, "checkout", check)
