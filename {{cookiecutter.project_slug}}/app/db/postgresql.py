"""PostgreSQL, through psycopg 3."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from psycopg import Error, ProgrammingError
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.settings import PLACEHOLDER, CoreSettings
from app.db.idle import check_idle_connections
from app.db.pool import PoolSettings

DRIVER = "postgresql+psycopg"

# What libpq connects with, unless the URL says otherwise. Keepalives keep firewalls from forgetting
# a connection that idles, and the timeout ends one whose other side has vanished (milliseconds).
DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

NOT_A_URL = (
    "must be a URL: postgresql://user:password@host/name;"
    " percent-encode special characters in the user name and in the password, such as %40 for @"
)

_is_host = re.compile(r"[\w.,:-]*|/.*").fullmatch


class DatabaseSettings(PoolSettings):
    """The server, and how long a statement may take.

    `DATABASE_URL`: as platforms provide it, `postgres://user:password@host/name?sslmode=require`.
    `DATABASE_POOLER` (false): the URL leads to a pooler in transaction mode, such as PgBouncer.
    `DATABASE_STATEMENT_TIMEOUT` (30): seconds until the server cancels a statement; 0 = never.
    """

    database_url: SecretStr = Field(default=SecretStr(""), validate_default=True)
    database_pooler: bool = False
    database_statement_timeout: float = Field(default=30, ge=0)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # No message quotes what it rejects: a part of it may be a part of the password.
        try:
            url = make_url(value.get_secret_value().strip())
        except (ArgumentError, ValueError):
            raise ValueError(NOT_A_URL) from None
        if url.drivername not in ("postgres", "postgresql", DRIVER):
            raise ValueError("must start with postgresql://")
        # What follows an @ in the password.
        if not _is_host(url.host or "") or "@" in (url.database or ""):
            raise ValueError(NOT_A_URL)
        url = url.set(drivername=DRIVER)
        try:
            make_conninfo("", **dict.fromkeys(url.query, ""))
        except ProgrammingError:
            raise ValueError("has a parameter that libpq does not know, after the ?") from None
        if url.password == PLACEHOLDER and not info.data.get("debug"):
            raise ValueError("has the placeholder of .env.example: set POSTGRES_PASSWORD")
        return SecretStr(url.render_as_string(hide_password=False))

    def risks(self) -> Iterator[str]:
        if make_url(self.database_url.get_secret_value()).username == "postgres":
            yield "DATABASE_URL: connects as the superuser: make a role for this service"
        yield from super().risks()


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Create the engine. It opens no connection until one is used."""
    url = make_url(settings.database_url.get_secret_value())
    connect_args: dict[str, Any] = {
        name: value for name, value in DEFAULTS.items() if name not in url.query
    }
    # A request that is cancelled or gives up leaves its statement running in the server.
    timeout = round(settings.database_statement_timeout * 1000)
    if settings.database_pooler:
        # Each transaction may get another connection to the server, so nothing can be set for a
        # connection, and no statement can be prepared on one.
        connect_args |= {"autocommit": True, "prepare_threshold": None}
    elif timeout:
        options = f"{url.query.get('options', '')} -c statement_timeout={timeout}"
        connect_args["options"] = options.lstrip()
    engine = create_async_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
        pool_recycle=300,
        connect_args=connect_args,
        echo=settings.database_echo,
        hide_parameters=not settings.debug,
    )
    check_idle_connections(engine)
    if settings.database_pooler:
        event.listen(engine.sync_engine, "begin", partial(_begin, timeout=timeout))
    event.listen(engine.sync_engine, "commit", _refuse_aborted)
    if not settings.debug:
        event.listen(engine.sync_engine, "handle_error", _hide_values)
    return engine


async def prepare(engine: AsyncEngine, settings: CoreSettings) -> None:
    """Leave the schema alone: migrations are a step of the deployment, before the new code.

    Until `alembic upgrade head` has run, `/readyz` responds with 503.
    """


def _begin(connection: Connection, *, timeout: int) -> None:
    # In one message, and so without a round trip more than the BEGIN of the driver takes.
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    driver: Any = connection.connection.driver_connection
    statements = ["BEGIN"] if driver.autocommit else []
    if timeout:
        statements.append(f"SET LOCAL statement_timeout = {timeout}")
    if statements:
        connection.exec_driver_sql("; ".join(statements))


def _refuse_aborted(connection: Connection) -> None:
    # After a statement has failed, the server responds to COMMIT with a rollback, without an error.
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.transaction_status is TransactionStatus.INERROR:
        raise PendingRollbackError(
            "a statement of this transaction has failed, so nothing of it can be committed; "
            "to go on after an error, run what may fail in `async with session.begin_nested()`"
        )


def _hide_values(context: ExceptionContext) -> None:
    # DETAIL and CONTEXT quote the values of rows, and so does the message of a data exception
    # (class 22 of SQLSTATE): 'invalid input syntax for type integer: "..."'.
    error = context.original_exception
    if not isinstance(error, Error) or error.sqlstate is None:
        return
    is_data_exception = error.sqlstate.startswith("22")
    message = f"SQLSTATE {error.sqlstate}" if is_data_exception else error.diag.message_primary
    error.args = (message,)
    assert context.sqlalchemy_exception is not None
    kind = type(error)
    context.sqlalchemy_exception.args = (f"({kind.__module__}.{kind.__name__}) {message}",)
