"""Each test has a database of its own, with the schema and no rows, whatever its settings say."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import db
from app.db import schema

MakeEngine = Callable[[str, Any], AsyncEngine]


def migrate(create_engine: Callable[[Any], AsyncEngine]) -> None:
    """Bring the schema of a database up to date."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(db, "create_engine", create_engine)
        config = schema.alembic_config()
        config.attributes["settings"] = object()
        command.upgrade(config, "heads")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, make_engine: MakeEngine) -> Path:
    """A database file, to be copied: that takes less time than to run the migrations."""
    path = tmp_path_factory.mktemp("database") / "migrated.db"
    migrate(lambda settings: make_engine(f"sqlite+aiosqlite:///{path}", settings))
    return path


@pytest.fixture(autouse=True)
def database(
    migrated: Path, make_engine: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database of the test."""
    path = shutil.copy(migrated, tmp_path / "test.db")
    url = f"sqlite+aiosqlite:///{path}"
    monkeypatch.setattr(db, "create_engine", lambda settings: make_engine(url, settings))


@pytest.fixture
def sql(make_settings: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Run statements on a connection of their own, commit, and return the rows of the last."""

    async def run(*statements: str) -> list[Any]:
        engine = db.create_engine(make_settings())
        try:
            async with engine.begin() as connection:
                for statement in statements:
                    result = await connection.execute(text(statement))
                return list(map(tuple, result)) if result.returns_rows else []
        finally:
            await engine.dispose()

    return lambda *statements: asyncio.run(run(*statements))
