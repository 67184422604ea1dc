"""Whether the database has the schema that this code was written for."""

import logging
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from anyio import to_thread
from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.settings import CoreSettings
from app.db.base import Base

MIGRATIONS = Path(__file__).parents[2] / "migrations"
VERSION = table("alembic_version", column("version_num"))

logger = logging.getLogger(__name__)


async def check(engine: AsyncEngine) -> None:
    """Raise if the database does not respond, or does not have the schema of this code.

    A schema that is ahead, as older processes see it while a new version is rolled out, passes.
    """
    async with engine.connect() as connection:
        applied, missing = await connection.run_sync(_read_state)
    heads, known = _revisions()
    if not applied <= known:
        return
    if not heads <= applied:
        raise RuntimeError("the database schema is behind the code: run alembic upgrade head")
    if missing:
        raise RuntimeError(
            f"the database has no table {', '.join(missing)}, and no migration creates it:"
            " run alembic revision --autogenerate, review the revision, run alembic upgrade head"
        )


async def upgrade(engine: AsyncEngine, settings: CoreSettings) -> None:
    """Run the migrations that are missing. Several processes may do so at once."""
    async with engine.connect() as connection:
        applied, _ = await connection.run_sync(_read_state)
    heads, known = _revisions()
    if applied <= known and not heads <= applied:
        config = alembic_config()
        config.attributes["settings"] = settings
        await to_thread.run_sync(command.upgrade, config, "head")
        logger.info("the database schema is up to date")


def alembic_config() -> Config:
    """Return the configuration of the `alembic` command, for any working directory."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    scripts = ScriptDirectory.from_config(alembic_config())
    known = (script.revision for script in scripts.walk_revisions())
    return frozenset(scripts.get_heads()), frozenset(known)


def _read_state(connection: Connection) -> tuple[set[str], list[str]]:
    """Return the revisions that were applied, and the names of the tables that are missing."""
    inspector = inspect(connection)
    applied: set[str] = set()
    if inspector.has_table(VERSION.name):
        applied.update(connection.scalars(select(VERSION.c.version_num)))
    tables = Base.metadata.tables.values()
    schemas = {table.schema for table in tables}
    names = {(schema, name) for schema in schemas for name in inspector.get_table_names(schema)}
    missing = [
        table.fullname
        for table in tables
        # A view, perhaps, or in another schema of the search path.
        if (table.schema, table.name) not in names
        and not inspector.has_table(table.name, table.schema)
    ]
    return applied, missing
