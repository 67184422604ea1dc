"""One session per request, committed before its response begins."""

import logging
from collections import UserDict
from collections.abc import Callable
from copy import copy
from typing import Any, NoReturn, cast

from anyio import CancelScope
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import error_response
from app.core.paths import route_path
from app.db.errors import is_busy, is_unavailable

# RFC 9110, section 9.2.1
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

ENDED = (
    "the session of a request ends when its response begins: a stream or a background task takes"
    " DbSessions, and opens a session of its own for each short piece of work"
)

logger = logging.getLogger(__name__)


class LazyState(UserDict[str, Any]):
    """The state of a request, in which `db` is created when it is first asked for."""

    def __init__(self, state: dict[str, Any], open_session: Callable[[], AsyncSession]) -> None:
        # No copy: the layers outside hold the same state.
        self.data = state
        self.open_session = open_session

    def __missing__(self, key: str) -> Any:
        if key != "db":
            raise KeyError(key)
        self.data["db"] = session = self.open_session()
        return session


class EndedSession:
    """Stands in for the session of a request after its end, and raises an error."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(ENDED)


class TransactionMiddleware:
    """Give each request that asks for `request.state.db` one session, and decide on its end.

    A response of 2xx or 3xx commits, and begins only when the commit has succeeded. Any other
    response, an exception and a cancelled request roll back. The exception of a failed commit is
    raised to the layers outside, which respond. Sessions come from `app.state.sessions`.

    The response is a 503 when no connection is free in time, and when the database cannot be
    reached or the connection is lost before the commit, so that nothing of the request was stored.

    The session ends when the response begins. To use it later, in a stream or in a background
    task, raises an error: a connection would be held for as long as the slowest client takes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        session: AsyncSession | None = None
        lent: AsyncSession | None = None
        failure: Exception | None = None
        failed_to_commit = has_begun = False
        # Keeping the scope would create a reference cycle per request, which only the collector frees.
        app: Any = scope.get("app")
        method = scope["method"]

        def open_session() -> AsyncSession:
            nonlocal session, lent
            if has_begun:
                raise RuntimeError(ENDED)
            session = app.state.sessions(execution_options={"read_only": method in SAFE_METHODS})
            # The request uses a copy, whose use can be ended while this session commits.
            lent = copy(session)
            return lent

        async def send_after_commit(message: Message) -> None:
            nonlocal failure, failed_to_commit, has_begun
            if failure is not None:
                # Another response must not replace the failed commit.
                raise failure
            if message["type"] == "http.response.start":
                if session is not None and lent is not None:
                    end_use(lent)
                    try:
                        await _end(session, message["status"])
                    except Exception as exc:
                        failure, failed_to_commit = exc, True
                        raise
                    app.state.sessions.outage.end()
                has_begun = True
            await send(message)

        scope["state"] = LazyState(scope.get("state", {}), open_session)
        try:
            await self.app(scope, receive, send_after_commit)
        except Exception as exc:
            # After a failed commit, this exception is a consequence of it.
            failure = failure or exc
        finally:
            if session is not None:
                if has_begun and _is_pending(session):
                    logger.warning(
                        "%s %s changed objects after its response began; that is not stored",
                        method,
                        route_path(scope),
                    )
                await _close(session)
        if failure is None:
            return
        if has_begun or failed_to_commit:
            raise failure
        if is_busy(failure):
            if not app.state.sessions.outage.has_begun:
                logger.warning("the database is busy: %s", failure)
            response = error_response(503, "The database is busy", headers={"Retry-After": "1"})
        elif is_unavailable(failure):
            app.state.sessions.outage.begin(failure)
            message = "The database is unavailable"
            response = error_response(503, message, headers={"Retry-After": "5"})
        else:
            raise failure
        await response(scope, receive, send)


def layer() -> Middleware:
    """Hold a transaction around each request that uses the database."""
    return Middleware(TransactionMiddleware)


def end_use(session: AsyncSession) -> None:
    """Make every further use of the session of a request raise an error."""
    session.sync_session = session._proxied = cast(Session, EndedSession())


async def _end(session: AsyncSession, status: int) -> None:
    if 200 <= status < 400:
        await session.commit()
    else:
        await session.rollback()


async def _close(session: AsyncSession) -> None:
    # Without a transaction it holds no connection, and there is nothing to close.
    if session.in_transaction():
        # A request that is cancelled gives its connection back like any other.
        with CancelScope(shield=True):
            try:
                # Before `close`, which alone would give it back with a commit half done.
                await session.rollback()
            except SQLAlchemyError:
                logger.warning("the connection was lost before the rollback", exc_info=True)
            await session.close()


def _is_pending(session: AsyncSession) -> bool:
    return bool(session.new or session.dirty or session.deleted)
