"""Whether the schema of the database is the one that this code was written for."""

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

MIGRATIONS = Path(__file__).parents[2] / "migrations"
VERSION = table("alembic_version", column("version_num"))

logger = logging.getLogger(__name__)


async def check(engine: AsyncEngine) -> None:
    """Raise where the database does not answer, or its schema is behind the code."""
    async with engine.connect() as connection:
        behind = await connection.run_sync(is_behind)
    if behind:
        raise RuntimeError("the database schema is behind the code: run alembic upgrade heads")


async def upgrade(engine: AsyncEngine, settings: CoreSettings) -> None:
    """Run the migrations that are missing. Several processes may do so at once."""
    async with engine.connect() as connection:
        behind = await connection.run_sync(is_behind)
    if behind:
        config = alembic_config()
        config.attributes["settings"] = settings
        await to_thread.run_sync(command.upgrade, config, "heads")
        logger.info("the database schema is up to date")


def is_behind(connection: Connection) -> bool:
    """Tell whether migrations are missing.

    A schema that is ahead, as older processes see it while a new version is rolled out, is not.
    """
    heads, known = _revisions()
    applied: set[str] = set()
    if inspect(connection).has_table(VERSION.name):
        applied.update(connection.scalars(select(VERSION.c.version_num)))
    return applied <= known and not heads <= applied


def alembic_config() -> Config:
    """Return what pyproject.toml tells the `alembic` command, from any working directory."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    scripts = ScriptDirectory.from_config(alembic_config())
    known = (script.revision for script in scripts.walk_revisions())
    return frozenset(scripts.get_heads()), frozenset(known)
