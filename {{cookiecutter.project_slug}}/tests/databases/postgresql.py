"""The tests run on SQLite, so that they need no server; those with `each_database` on both.

The server is that of TEST_DATABASE_URL. Where it does not answer, the tests that need it are
skipped, or fail where REQUIRE_SERVICES is set.
"""

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app import db
from app.db import base
from app.db.postgresql import DatabaseSettings, create_engine
from tests.databases.shared import MakeEngine, migrate

SERVER = os.environ.get("TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture(scope="session")
def make_engine() -> MakeEngine:
    """Create an engine for a database file, in place of the engine of the service."""

    def make(url: str, settings: Any) -> AsyncEngine:
        engine = create_async_engine(
            url,
            pool_size=getattr(settings, "database_pool_size", 1),
            max_overflow=0,
            pool_timeout=getattr(settings, "database_pool_timeout", 1),
        )

        @event.listens_for(engine.sync_engine, "connect")
        def configure(connection: Any, record: object) -> None:
            connection.isolation_level = None
            connection.cursor().execute("PRAGMA foreign_keys = ON")
            # No test has to survive a power cut.
            connection.cursor().execute("PRAGMA synchronous = OFF")

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def each_database(request: pytest.FixtureRequest) -> None:
    """A test with this runs on the server as well."""
    if request.param == "postgresql":
        request.getfixturevalue("on_server")


@pytest.fixture
def on_server(server: str, monkeypatch: pytest.MonkeyPatch, database: None) -> None:
    """Let a test run on PostgreSQL, with the engine of the service."""
    monkeypatch.setattr(db, "create_engine", lambda settings: make_server_engine(server, settings))
    tables = ", ".join(base.Base.metadata.tables)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a new database, with the schema."""
    url = make_url(SERVER).set(drivername="postgresql")
    try:
        connection = psycopg.connect(url.render_as_string(False), autocommit=True)
    except psycopg.OperationalError as error:
        if os.environ.get("REQUIRE_SERVICES"):
            raise
        pytest.skip(f"PostgreSQL does not answer (TEST_DATABASE_URL): {error}")
    with connection:
        name = f"test_{uuid4().hex}"
        connection.execute(f"CREATE DATABASE {name}")
        try:
            server = url.set(database=name).render_as_string(False)
            migrate(lambda settings: make_server_engine(server, settings))
            yield server
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_server_engine(url: str, settings: Any) -> AsyncEngine:
    """Create the engine of the service for a database of the tests."""
    if not isinstance(settings, DatabaseSettings):
        settings = DatabaseSettings(database_url=SecretStr(url))
    url = DatabaseSettings(database_url=SecretStr(url)).database_url.get_secret_value()
    return create_engine(settings.model_copy(update={"database_url": SecretStr(url)}))
