"""Where sessions come from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Connection, event
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app import db
from app.db import migration_state

Sessions = async_sessionmaker[AsyncSession]
"""A factory of sessions, for whatever is no request: WebSockets, background work, scripts.

    async with sessions.begin() as session:
        session.add(Item(name="x"))

commits at the end of the block, and rolls back where it raises. Keep such blocks short: a
connection that is held while a socket waits is one that requests do not have.
"""


@asynccontextmanager
async def connect(settings: db.DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    """Hold an engine for a process that does not serve: `create_sessions` makes its sessions."""
    engine = db.create_engine(settings)
    try:
        await db.prepare(engine, settings)
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the engine and the factory of sessions of `app`, and let `/readyz` ask the database."""
    async with connect(app.state.settings) as engine:
        app.state.engine = engine
        app.state.sessions = create_sessions(engine)
        app.state.checks["database"] = partial(migration_state.check, engine)
        yield


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Make the factory. What a session has loaded stays readable after the commit.

    The execution option `on_write` of a session is called with each statement that writes.
    """
    event.listen(engine.sync_engine, "before_cursor_execute", _report_write)
    return async_sessionmaker(engine, expire_on_commit=False)


def _report_write(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: DefaultExecutionContext,
    executemany: bool,
) -> None:
    on_write: Any = connection.get_execution_options().get("on_write")
    if on_write is not None and (
        context.is_crud or statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE")
    ):
        on_write(statement)
