import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

import pytest
from psycopg.errors import QueryCanceled
from pydantic import SecretStr, ValidationError
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.core.settings import describe
from app.db import postgresql
from app.db.postgresql import DatabaseSettings, create_engine
from tests.fixtures.postgresql import SERVER, connect

Run = Callable[..., Any]


def settings(url: str, **changes: Any) -> DatabaseSettings:
    return DatabaseSettings(database_url=SecretStr(url), **changes)


@pytest.fixture
def run() -> Run:
    """Run a function with an engine for the server of the tests, with some settings changed."""
    if (connection := connect()) is None:
        pytest.skip("PostgreSQL does not respond: set TEST_DATABASE_URL")
    connection.close()

    def run(
        function: Callable[[AsyncEngine], Coroutine[Any, Any, object]],
        url: str = SERVER,
        **changes: Any,
    ) -> Any:
        async def use() -> object:
            engine = create_engine(settings(url, database_pool_size=1, **changes))
            try:
                return await function(engine)
            finally:
                await engine.dispose()

        return asyncio.run(use())

    return run


async def scalar(connection: AsyncConnection, statement: str) -> Any:
    return await connection.scalar(text(statement))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_url_gets_the_driver(scheme: str) -> None:
    url = settings(f"{scheme}://me:secret@host/app?sslmode=require\n").database_url
    expected = "postgresql+psycopg://me:secret@host/app?sslmode=require"
    assert url.get_secret_value() == expected
    assert "secret@" not in repr(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://u:p@one,two/db",
        "postgresql://u:p@/db?host=one:5432&host=two:5433",
        "postgresql://u:p@/db?host=/run/postgresql",
        "postgresql://u:p%40ss%3Aword@host.example.com/db?target_session_attrs=read-write",
        "postgresql:///db",
    ],
)
def test_urls_that_libpq_knows_are_kept(url: str) -> None:
    kept = settings(url).database_url.get_secret_value()
    assert unquote(kept) == unquote(url).replace("postgresql:", "postgresql+psycopg:")


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("host/app", "must be a URL: postgresql://"),
        ("mysql://host/app", "must start with postgresql://"),
        ("postgresql://app:change-me@postgres/app", "set POSTGRES_PASSWORD"),
        ("postgresql://host/app?prepare_threshold=0", "parameter that libpq does not know"),
        ("postgresql://host/app?sslmod=require", "parameter that libpq does not know"),
    ],
)
def test_other_urls_are_refused(url: str, remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        settings(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hun@ter:two@host/db",
        "postgresql://app:hun@ter@host/db",
        "postgresql://app:hun@ter/two@host/db",
        "postgresql://app:hun@[ter@host/db",
        "postgresql://app:hunter@host:port/db",
        "postgresql://app:hunter@ho st/db",
        "postgresql:app:hunter@host/db",
        "postgresql//app:hunter@host/db",
        "app:hunter@host/db",
    ],
)
def test_no_message_quotes_a_malformed_url(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(url)
    [line] = describe(error.value)
    assert "%40 for @" in line
    assert "hun" not in line
    assert "ter@" not in line
    assert "two" not in line


def test_development_may_keep_the_placeholder() -> None:
    url = settings("postgresql://app:change-me@postgres/app", debug=True).database_url
    assert ":change-me@" in url.get_secret_value()


def test_a_missing_url_says_what_one_looks_like() -> None:
    with pytest.raises(
        ValidationError, match="must be a URL: postgresql://user:password@host/name"
    ):
        DatabaseSettings()


@pytest.mark.parametrize("pooler", [True, False])
def test_statement_timeout(run: Run, pooler: bool) -> None:
    async def sleep(engine: AsyncEngine) -> None:
        for _ in range(2):
            async with engine.connect() as connection:
                with pytest.raises(DBAPIError) as error:
                    await scalar(connection, "SELECT pg_sleep(60)")
                assert isinstance(error.value.orig, QueryCanceled)

    run(sleep, database_pooler=pooler, database_statement_timeout=0.05)


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize(("timeout", "shown"), [(0, "0"), (1.5, "1500ms")])
def test_options_of_the_url_stay(run: Run, pooler: bool, timeout: float, shown: str) -> None:
    async def show(engine: AsyncEngine) -> list[str]:
        async with engine.connect() as connection:
            names = ("statement_timeout", "search_path")
            return [await scalar(connection, f"SHOW {name}") for name in names]

    url = f"{SERVER}?options=-c%20search_path%3Da"
    changes = {"database_pooler": pooler, "database_statement_timeout": timeout}
    assert run(show, url, **changes) == [shown, "a"]
    assert run(show, **changes)[0] == shown


@pytest.mark.parametrize(("pooler", "prepared"), [(True, False), (False, True)])
def test_statements_are_prepared_without_a_pooler(run: Run, pooler: bool, prepared: bool) -> None:
    async def repeat(engine: AsyncEngine) -> bool:
        async with engine.connect() as connection:
            for number in range(10):
                await connection.execute(text("SELECT :n + 1"), {"n": number})
            return bool(await scalar(connection, "SELECT count(*) FROM pg_prepared_statements"))

    assert run(repeat, database_pooler=pooler) is prepared


@pytest.mark.parametrize("pooler", [True, False])
def test_transactions(run: Run, pooler: bool) -> None:
    async def write(engine: AsyncEngine) -> list[int]:
        counts = []
        for end in ("rollback", "commit", "rollback"):
            async with engine.connect() as connection:
                await connection.execute(text("CREATE TEMP TABLE IF NOT EXISTS t (i int)"))
                await connection.execute(text("INSERT INTO t VALUES (1)"))
                counts.append(await scalar(connection, "SELECT count(*) FROM t"))
                await getattr(connection, end)()
        return counts

    assert run(write, database_pooler=pooler) == [1, 1, 2]


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize(
    ("level", "shown"),
    [("SERIALIZABLE", "serializable"), ("AUTOCOMMIT", "read committed")],
)
@pytest.mark.parametrize("timeout", [30, 0])
def test_isolation_levels(run: Run, pooler: bool, level: Any, shown: str, timeout: float) -> None:
    notices: list[str] = []

    async def show(engine: AsyncEngine) -> str:
        @event.listens_for(engine.sync_engine, "connect")
        def listen(connection: Any, record: object) -> None:
            connection.driver_connection.add_notice_handler(
                lambda notice: notices.append(notice.message_primary)
            )

        found = ""
        for _ in range(2):
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level=level)
                found = await scalar(connection, "SHOW transaction_isolation")
                if level == "AUTOCOMMIT":
                    # Not possible in a transaction.
                    await connection.execute(text("VACUUM pg_class"))
            async with engine.connect() as connection:
                assert await scalar(connection, "SHOW transaction_isolation") == "read committed"
        return found

    changes = {"database_pooler": pooler, "database_statement_timeout": timeout}
    assert run(show, **changes) == shown
    assert notices == []


@pytest.mark.parametrize(("query", "idle"), [("", 30), ("?keepalives_idle=7", 7)])
def test_firewalls_and_vanished_servers(run: Run, query: str, idle: int) -> None:
    async def read(engine: AsyncEngine) -> list[int]:
        async with engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            with socket.fromfd(raw.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as peer:
                names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
                return [
                    peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names
                ]

    # The URL decides.
    assert run(read, SERVER + query) == [idle, 10, 3, 10_000]


def test_start_leaves_the_schema_alone() -> None:
    engine = create_engine(settings("postgresql://nowhere.invalid/app"))
    asyncio.run(postgresql.prepare(engine, settings("postgresql://nowhere.invalid/app")))


@pytest.mark.parametrize("pooler", [True, False])
def test_commit_of_an_aborted_transaction_is_an_error(run: Run, pooler: bool) -> None:
    async def fail(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError):
                await scalar(connection, "SELECT * FROM nowhere")
            with pytest.raises(PendingRollbackError, match="begin_nested"):
                await connection.commit()
            await connection.rollback()
            await connection.commit()

    run(fail, database_pooler=pooler)


TABLE = """
    CREATE TEMP TABLE secrets (
        name text UNIQUE, code int CHECK (code > 0), owner text UNIQUE DEFERRABLE INITIALLY DEFERRED
    )
"""


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("INSERT INTO secrets VALUES ('hunter2')", 'unique constraint "secrets_name_key"'),
        ("INSERT INTO secrets VALUES ('hunter2', -1)", 'check constraint "secrets_code_check"'),
        ("SELECT 'hunter2'::int", "SQLSTATE 22P02"),
        ("SELECT 'hunter2'::uuid", "SQLSTATE 22P02"),
        ("INSERT INTO secrets VALUES ('a', 1, 'hunter2')", 'constraint "secrets_owner_key"'),
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
    ],
)
@pytest.mark.parametrize("debug", [True, False])
def test_errors_quote_no_values(run: Run, statement: str, kept: str, debug: bool) -> None:
    async def fail(engine: AsyncEngine) -> BaseException:
        async with engine.connect() as connection:
            await connection.execute(text(TABLE))
            await connection.execute(text("INSERT INTO secrets VALUES ('hunter2', 1, 'hunter2')"))
            await connection.commit()
            with pytest.raises(DBAPIError) as error:
                await connection.execute(text(statement))
                await connection.commit()
            return error.value

    error: Any = run(fail, debug=debug)
    said = str(error).replace(statement, "") + str(error.orig)
    if debug:
        assert ("hunter2" in said) is ("nowhere" not in statement)
    else:
        assert kept in said
        assert "hunter2" not in said
    if isinstance(error, IntegrityError):
        assert "hunter2" in error.orig.diag.message_detail  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("user", "risks"),
    [
        ("app", []),
        ("postgres", ["DATABASE_URL: connects as the superuser: make a role for this service"]),
    ],
)
def test_the_superuser_is_a_risk(user: str, risks: list[str]) -> None:
    found = settings(f"postgresql://{user}@127.0.0.1/app").risks()
    assert [risk for risk in found if risk.startswith("DATABASE_")] == risks
