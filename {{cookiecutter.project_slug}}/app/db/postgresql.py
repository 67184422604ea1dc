"""PostgreSQL, through psycopg 3."""

from collections.abc import Iterator

from psycopg.pq import TransactionStatus
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import ArgumentError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.settings import PLACEHOLDER, CoreSettings
from app.db.pool import PoolSettings

DRIVER = "postgresql+psycopg"


class DatabaseSettings(PoolSettings):
    """Which server, and how long it may take.

    `DATABASE_URL`: as platforms hand it out, `postgres://user:password@host/name?sslmode=require`.
    `DATABASE_STATEMENT_TIMEOUT` (30): seconds until the server gives a statement up; 0 = never.
    """

    database_url: SecretStr = Field(default=SecretStr(""), validate_default=True)
    database_statement_timeout: float = Field(default=30, ge=0)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        try:
            url = make_url(value.get_secret_value())
        except ArgumentError:
            raise ValueError("must be a URL: postgresql://user:password@host/name") from None
        if url.drivername not in ("postgres", "postgresql", DRIVER):
            raise ValueError("must begin with postgresql://")
        if url.password == PLACEHOLDER and not info.data.get("debug"):
            raise ValueError("has the placeholder of .env.example: set POSTGRES_PASSWORD")
        return SecretStr(url.set(drivername=DRIVER).render_as_string(hide_password=False))

    def risks(self) -> Iterator[str]:
        if make_url(self.database_url.get_secret_value()).username == "postgres":
            yield "DATABASE_URL: connects as the superuser: make a role for this service"
        yield from super().risks()


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Create the engine. No connection is made until one is used."""
    url = make_url(settings.database_url.get_secret_value())
    connect_args: dict[str, object] = {"connect_timeout": 5}
    if settings.database_statement_timeout:
        # A request that is cancelled or gives up leaves its statement running in the server.
        milliseconds = round(settings.database_statement_timeout * 1000)
        options = f"{url.query.get('options', '')} -c statement_timeout={milliseconds}"
        connect_args["options"] = options.lstrip()
    engine = create_async_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
        # In place of `pool_pre_ping`, which asks the server once more for every request: what
        # lies between closes connections that are idle for longer. After a restart of the
        # server the first request fails, which empties the pool.
        pool_recycle=300,
        connect_args=connect_args,
        echo=settings.database_echo,
        hide_parameters=not settings.debug,
    )
    event.listen(engine.sync_engine, "commit", _refuse_aborted)
    return engine


async def prepare(engine: AsyncEngine, settings: CoreSettings) -> None:
    """Leave the schema alone: migrations are a step of the deployment, before the new code.

    Until `alembic upgrade heads` was run, `/readyz` answers 503.
    """


def _refuse_aborted(connection: Connection) -> None:
    # After a statement has failed, the server answers COMMIT by rolling back, and reports no error.
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.transaction_status is TransactionStatus.INERROR:
        raise PendingRollbackError(
            "a statement of this transaction has failed, so nothing of it can be committed; "
            "to go on after an error, run what may fail in `async with session.begin_nested()`"
        )
