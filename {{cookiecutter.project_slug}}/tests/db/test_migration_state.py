import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient

from app import db
from app.config import Settings
from app.db import migration_state

Sql = Callable[..., list[Any]]
Log = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def alembic(make_settings: Callable[..., Settings]) -> Config:
    config = migration_state.alembic_config()
    config.attributes["settings"] = make_settings()
    return config


def test_models_and_migrations_agree(alembic: Config) -> None:
    command.check(alembic)


def test_migrations_can_be_undone(alembic: Config, sql: Sql) -> None:
    command.downgrade(alembic, "base")
    assert sql("SELECT * FROM alembic_version") == []
    command.upgrade(alembic, "heads")
    assert sql("SELECT * FROM items") == []


HEADS = ScriptDirectory.from_config(migration_state.alembic_config()).get_heads()


def test_tables_of_a_pick_are_a_branch_of_their_own() -> None:
    scripts = ScriptDirectory.from_config(migration_state.alembic_config())
    assert all(len(revision.branch_labels) == 1 for revision in scripts.walk_revisions())


def test_pyproject_names_the_same_migrations() -> None:
    config = Config(toml_file=migration_state.MIGRATIONS.parent / "pyproject.toml")
    assert Path(ScriptDirectory.from_config(config).dir) == migration_state.MIGRATIONS


@pytest.mark.parametrize(
    ("revisions", "behind"),
    [
        (None, True),
        ([], True),
        (HEADS, False),
        (["of_a_newer_version"], False),
    ],
)
def test_readiness_asks_for_the_schema(
    client: TestClient, sql: Sql, caplog: Any, revisions: list[str] | None, behind: bool
) -> None:
    sql("DELETE FROM alembic_version")
    if revisions is None:
        sql("ALTER TABLE alembic_version RENAME TO elsewhere")
    for revision in revisions or []:
        sql(f"INSERT INTO alembic_version VALUES ('{revision}')")
    try:
        assert client.get("/readyz").status_code == (503 if behind else 200)
    finally:
        if revisions is None:
            sql("ALTER TABLE elsewhere RENAME TO alembic_version")
        sql("DELETE FROM alembic_version")
        for revision in HEADS:
            sql(f"INSERT INTO alembic_version VALUES ('{revision}')")
    assert ("alembic upgrade heads" in caplog.text) is behind


def test_start_can_migrate(make_settings: Callable[..., Settings], alembic: Config) -> None:
    command.downgrade(alembic, "base")

    async def run() -> None:
        engine = db.create_engine(make_settings())
        for _ in range(2):
            await migration_state.upgrade(engine, make_settings())
        await migration_state.check(engine)
        await engine.dispose()

    asyncio.run(run())
