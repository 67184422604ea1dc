"""One session a request, committed before its answer begins."""

import logging
from collections import UserDict
from collections.abc import Callable
from typing import Any

from anyio import CancelScope
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import immutabledict
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import error_response
from app.core.paths import route_path

# RFC 9110, section 9.2.1
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

LOST = "%s %s wrote on the session of the request after the answer began; that is not committed"

logger = logging.getLogger(__name__)


class LazyState(UserDict[str, Any]):
    """The state of a request, in which `db` comes into being when it is first asked for."""

    def __init__(self, state: dict[str, Any], open_session: Callable[[], AsyncSession]) -> None:
        # No copy: the layers outside hold the same state.
        self.data = state
        self.open_session = open_session

    def __missing__(self, key: str) -> Any:
        if key != "db":
            raise KeyError(key)
        self.data["db"] = session = self.open_session()
        return session


class TransactionMiddleware:
    """Give each request that asks for `request.state.db` one session, and decide on its end.

    An answer of 2xx or 3xx commits, and begins only when the commit has succeeded. All else rolls
    back: any other answer, an exception, a cancelled request. A commit that fails is raised out
    of here, so that nothing but the layers outside can answer it. The sessions are those of
    `app.state.sessions`; where its pool has no connection to give in time, the answer is a 503.

    What is written after the answer began is not committed. It is logged as lost: background
    tasks and streams that write need a session of their own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        session: AsyncSession | None = None
        failure: Exception | None = None
        answered = False
        writes_after: list[str] = []
        # Not the scope: it holds what holds this function, and a cycle is garbage of each request.
        app: Any = scope.get("app")
        method = scope["method"]

        def open_session() -> AsyncSession:
            nonlocal session
            session = app.state.sessions(execution_options={"safe_method": method in SAFE_METHODS})
            if answered:
                _watch_writes(session, writes_after)
            return session

        async def send_after_commit(message: Message) -> None:
            nonlocal failure, answered
            if failure is not None:
                # Whatever would answer in place of the commit that failed.
                raise failure
            if message["type"] == "http.response.start":
                if session is not None:
                    try:
                        await _end(session, message["status"])
                    except Exception as exc:
                        failure = exc
                        raise
                    _watch_writes(session, writes_after)
                answered = True
            await send(message)

        scope["state"] = LazyState(scope.get("state", {}), open_session)
        try:
            await self.app(scope, receive, send_after_commit)
        except Exception as exc:
            # After a commit that failed, what comes out here is a consequence of that.
            failure = failure or exc
        finally:
            if session is not None:
                if answered and (writes_after or _is_pending(session)) and session.in_transaction():
                    logger.warning(LOST, scope["method"], route_path(scope))
                await _close(session)
        if failure is None:
            return
        if answered or not isinstance(failure, PoolTimeout):
            raise failure
        logger.warning("no database connection was free within DATABASE_POOL_TIMEOUT")
        headers = {"Retry-After": "1"}
        await error_response(503, "The database is busy", headers=headers)(scope, receive, send)


def layer() -> Middleware:
    """Hold a transaction around each request that uses the database."""
    return Middleware(TransactionMiddleware)


async def _end(session: AsyncSession, status: int) -> None:
    if 200 <= status < 400:
        await session.commit()
    else:
        await session.rollback()


def _watch_writes(session: AsyncSession, writes: list[str]) -> None:
    session.sync_session.execution_options = immutabledict({"on_write": writes.append})


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
