"""Where sessions come from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app import db
from app.db import migration_state
from app.db.outage import Outage


class Sessions(async_sessionmaker[AsyncSession]):
    """A factory of sessions, for whatever is no request: WebSockets, streams, background work.

        async with sessions.begin() as session:
            session.add(Item(name="x"))

    commits at the end of the block, and rolls back if it raises. Keep such blocks short: requests
    lack a connection that is held while a client or a socket waits.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        # What a session has loaded stays readable after the commit.
        super().__init__(engine, expire_on_commit=False)
        self.outage = Outage()

    def reading(self) -> AsyncSession:
        """Return a session for a block that only reads: on SQLite, it does not keep writers out."""
        return self(execution_options={"read_only": True})


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
    """Create the factory of sessions for `engine`."""
    return Sessions(engine)
