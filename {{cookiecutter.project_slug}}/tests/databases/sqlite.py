"""The tests run on the engine of the service."""

from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.sqlite import DatabaseSettings, create_engine
from tests.databases.shared import MakeEngine


@pytest.fixture(scope="session")
def make_engine() -> MakeEngine:
    """Create an engine for a database file, with the settings of a test if there are any."""

    def make(url: str, settings: Any) -> AsyncEngine:
        if not isinstance(settings, DatabaseSettings):
            settings = DatabaseSettings()
        # A machine that is busy is slow, not wrong.
        changes = {"database_url": SecretStr(url), "database_busy_timeout": 60.0}
        engine = create_engine(settings.model_copy(update=changes))

        @event.listens_for(engine.sync_engine, "connect")
        def hurry(connection: Any, record: object) -> None:
            # No test has to survive a power cut.
            connection.cursor().execute("PRAGMA synchronous = OFF")

        return engine

    return make


@pytest.fixture(params=["sqlite"])
def each_database() -> None:
    """A test with this runs on every database that the service supports."""
