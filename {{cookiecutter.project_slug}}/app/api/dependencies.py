"""What routes ask for by its type."""

from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Annotated

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.sessions import Sessions
from app.middleware.transaction import ENDED, end_use


async def get_session(request: Request) -> AsyncSession:
    """Return the session of the request: do not commit, the response decides on that.

    A route that yields is a stream, which is refused the session. The dependencies that it shares
    with other routes have it until the route starts.
    """
    session: AsyncSession = request.state.db
    route = request.scope["route"]
    if _yields(route.endpoint):
        if any(dependency.call is get_session for dependency in route.dependant.dependencies):
            raise RuntimeError(f"{route.endpoint.__name__} is a stream: {ENDED}")
        # What FastAPI closes when the dependencies are done, before server-sent events start
        # beside the commit.
        request.scope["fastapi_function_astack"].callback(end_use, session)
    return session


async def get_sessions(connection: HTTPConnection) -> Sessions:
    """Return the factory of sessions, for WebSockets, streams and work after the response."""
    sessions: Sessions = connection.app.state.sessions
    return sessions


def _yields(function: object) -> bool:
    return isasyncgenfunction(function) or isgeneratorfunction(function)


DbSession = Annotated[AsyncSession, Depends(get_session)]
DbSessions = Annotated[Sessions, Depends(get_sessions)]
