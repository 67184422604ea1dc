"""Dependencies of routes that use the database."""

from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Annotated

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.sessions import Sessions
from app.middleware.transaction import ENDED, end_use


async def get_session(request: Request) -> AsyncSession:
    """Return the session of the request. `TransactionMiddleware` commits it; routes must not.

    Raise RuntimeError for a route that yields, which streams its response: it outlives the
    transaction. Its dependencies may use the session until the route starts.
    """
    session: AsyncSession = request.state.db
    route = request.scope["route"]
    if _yields(route.endpoint):
        if any(dependency.call is get_session for dependency in route.dependant.dependencies):
            raise RuntimeError(f"{route.endpoint.__name__} is a stream: {ENDED}")
        # FastAPI closes this stack after the dependencies, before it starts the server-sent events
        # while the transaction is still being committed.
        request.scope["fastapi_function_astack"].callback(end_use, session)
    return session


async def get_sessions(connection: HTTPConnection) -> Sessions:
    """Return the session factory, for WebSockets, streams and work after the response."""
    sessions: Sessions = connection.app.state.sessions
    return sessions


def _yields(function: object) -> bool:
    return isasyncgenfunction(function) or isgeneratorfunction(function)


DbSession = Annotated[AsyncSession, Depends(get_session)]
DbSessions = Annotated[Sessions, Depends(get_sessions)]
