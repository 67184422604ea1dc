import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import Column, Integer, Table

from app import db
from app.config import Settings
from app.db import migration_state
from app.db.base import Base

Sql = Callable[..., list[Any]]
Readiness = Callable[[], tuple[int, str]]

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def alembic(make_settings: Callable[..., Settings]) -> Config:
    config = migration_state.alembic_config()
    config.attributes["settings"] = make_settings()
    return config


def test_models_and_migrations_agree(alembic: Config) -> None:
    command.check(alembic)


def test_migrations_can_be_undone(alembic: Config, sql: Sql) -> None:
    command.downgrade(alembic, "base")
    try:
        assert sql("SELECT * FROM alembic_version") == []
    finally:
        command.upgrade(alembic, "head")
    command.check(alembic)


def test_there_is_one_head() -> None:
    """Two branches of git may each add a revision: `alembic merge heads` puts both before one."""
    scripts = ScriptDirectory.from_config(migration_state.alembic_config())
    assert len(scripts.get_heads()) == 1


def test_pyproject_names_the_same_migrations() -> None:
    config = Config(toml_file=migration_state.MIGRATIONS.parent / "pyproject.toml")
    assert Path(ScriptDirectory.from_config(config).dir) == migration_state.MIGRATIONS


@pytest.fixture
def readiness(client: TestClient, caplog: Any) -> Callable[[], tuple[int, str]]:
    def read() -> tuple[int, str]:
        caplog.clear()
        return client.get("/readyz").status_code, caplog.text

    return read


def test_ready_with_the_schema_of_the_code(readiness: Readiness) -> None:
    assert readiness()[0] == 200


@pytest.mark.parametrize("deletes", [True, False])
def test_not_ready_before_the_migrations(readiness: Readiness, sql: Sql, deletes: bool) -> None:
    if deletes:
        sql("CREATE TABLE kept AS SELECT * FROM alembic_version", "DELETE FROM alembic_version")
    else:
        sql("ALTER TABLE alembic_version RENAME TO kept")
    try:
        status, logged = readiness()
    finally:
        if deletes:
            sql("INSERT INTO alembic_version SELECT * FROM kept", "DROP TABLE kept")
        else:
            sql("ALTER TABLE kept RENAME TO alembic_version")
    assert status == 503
    assert "run alembic upgrade head" in logged


def test_ready_while_a_newer_version_is_rolled_out(readiness: Readiness, sql: Sql) -> None:
    sql("CREATE TABLE kept AS SELECT * FROM alembic_version")
    sql("UPDATE alembic_version SET version_num = 'of_a_newer_version'")
    try:
        assert readiness()[0] == 200
    finally:
        sql("DELETE FROM alembic_version", "INSERT INTO alembic_version SELECT * FROM kept")
        sql("DROP TABLE kept")


def test_not_ready_without_a_table(readiness: Readiness) -> None:
    """An option or a model has come, and no revision that creates its table."""
    table = Table("of_a_new_model", Base.metadata, Column("id", Integer, primary_key=True))
    try:
        status, logged = readiness()
    finally:
        Base.metadata.remove(table)
    assert status == 503
    assert "no table of_a_new_model" in logged
    assert "alembic revision --autogenerate" in logged


def test_ready_with_a_view_for_a_table(readiness: Readiness, sql: Sql) -> None:
    sql("CREATE VIEW of_a_model AS SELECT 1 AS id")
    table = Table("of_a_model", Base.metadata, Column("id", Integer, primary_key=True))
    try:
        assert readiness()[0] == 200
    finally:
        Base.metadata.remove(table)
        sql("DROP VIEW of_a_model")


def test_start_can_migrate(make_settings: Callable[..., Settings], alembic: Config) -> None:
    command.downgrade(alembic, "base")

    async def run() -> None:
        engine = db.create_engine(make_settings())
        for _ in range(2):
            await migration_state.upgrade(engine, make_settings())
        await migration_state.check(engine)
        await engine.dispose()

    asyncio.run(run())
