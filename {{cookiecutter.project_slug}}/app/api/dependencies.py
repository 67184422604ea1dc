"""Dependencies of routes that use the database."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.sessions import Sessions


async def get_session(request: Request) -> AsyncSession:
    """Return the session of the request. `TransactionMiddleware` commits it; routes must not."""
    session: AsyncSession = request.state.db
    return session


async def get_sessions(connection: HTTPConnection) -> Sessions:
    """Return the session factory, for WebSockets and for work after the response."""
    sessions: Sessions = connection.app.state.sessions
    return sessions


DbSession = Annotated[AsyncSession, Depends(get_session)]
DbSessions = Annotated[Sessions, Depends(get_sessions)]
