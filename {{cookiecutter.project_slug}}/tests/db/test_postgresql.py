import asyncio
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from pydantic import SecretStr, ValidationError
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.ext.asyncio import create_async_engine

from app.db import postgresql
from app.db.postgresql import DatabaseSettings, create_engine


def settings(url: str, **changes: Any) -> DatabaseSettings:
    return DatabaseSettings(database_url=SecretStr(url), **changes)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_url_gets_the_driver(scheme: str) -> None:
    url = settings(f"{scheme}://me:secret@host/app?sslmode=require").database_url
    expected = "postgresql+psycopg://me:secret@host/app?sslmode=require"
    assert url.get_secret_value() == expected
    assert "secret@" not in repr(url)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("host/app", "must be a URL: postgresql://"),
        ("mysql://host/app", "must start with postgresql://"),
        ("postgresql://app:change-me@postgres/app", "set POSTGRES_PASSWORD"),
    ],
)
def test_other_urls_are_refused(url: str, remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        settings(url)


def test_development_may_keep_the_placeholder() -> None:
    url = settings("postgresql://app:change-me@postgres/app", debug=True).database_url
    assert ":change-me@" in url.get_secret_value()


def test_a_missing_url_says_what_one_looks_like() -> None:
    with pytest.raises(
        ValidationError, match="must be a URL: postgresql://user:password@host/name"
    ):
        DatabaseSettings()


@pytest.mark.parametrize(
    ("url", "timeout", "options"),
    [
        ("postgresql://host/app", 1.5, "-c statement_timeout=1500"),
        (
            "postgresql://host/app?options=-c%20search_path%3Da",
            30,
            "-c search_path=a -c statement_timeout=30000",
        ),
        ("postgresql://host/app", 0, None),
    ],
)
def test_statement_timeout(
    monkeypatch: pytest.MonkeyPatch, url: str, timeout: float, options: str | None
) -> None:
    created: dict[str, Any] = {}
    create = create_async_engine

    def record(url: Any, **arguments: Any) -> Any:
        created.update(arguments)
        return create(url, **arguments)

    monkeypatch.setattr(postgresql, "create_async_engine", record)
    engine = create_engine(settings(url, database_statement_timeout=timeout, database_pool_size=3))
    assert created["connect_args"].get("options") == options
    assert engine.pool.size() == 3  # type: ignore[attr-defined]


def test_start_leaves_the_schema_alone() -> None:
    engine = create_engine(settings("postgresql://nowhere.invalid/app"))
    asyncio.run(postgresql.prepare(engine, settings("postgresql://nowhere.invalid/app")))


@pytest.mark.parametrize("status", list(TransactionStatus))
def test_commit_of_an_aborted_transaction_is_an_error(status: Any) -> None:
    class Connection:
        @property
        def connection(self) -> Any:
            return self

        driver_connection: Any = None

    Connection.driver_connection = Connection()
    Connection.driver_connection.info = Connection()
    Connection.driver_connection.info.transaction_status = status
    connection: Any = Connection()
    if status is TransactionStatus.INERROR:
        with pytest.raises(PendingRollbackError, match="begin_nested"):
            postgresql._refuse_aborted(connection)
    else:
        postgresql._refuse_aborted(connection)


@pytest.mark.parametrize(
    ("user", "risks"),
    [
        ("app", []),
        ("postgres", ["DATABASE_URL: connects as the superuser: make a role for this service"]),
    ],
)
def test_the_superuser_is_a_risk(user: str, risks: list[str]) -> None:
    settings = DatabaseSettings(database_url=SecretStr(f"postgresql://{user}@127.0.0.1/app"))
    assert list(settings.risks()) == risks
