"""How Alembic runs the migrations: with the settings and the engine of the service."""

import asyncio
import logging

from alembic import context
from sqlalchemy import Connection

from app import db

# {%- if cookiecutter.jwt == "issue" +%}
from app.auth import models as users

# {%- endif +%}
from app.config import get_settings
from app.db import (
    base,
    models,
    # {% if cookiecutter.jwt != "none" %}
    owned_items,
    # {% endif %}
)

# Every module that has models, so that `alembic revision --autogenerate` sees their tables.
MODELS = [
    # {% if cookiecutter.jwt == "issue" %}
    users,
    # {% endif %}
    models,
    # {% if cookiecutter.jwt != "none" %}
    owned_items,
    # {% endif %}
]


def run(connection: Connection) -> None:
    """Run what is asked for in one transaction: all of it is applied, or nothing."""
    context.configure(
        connection=connection,
        target_metadata=base.Base.metadata,
        render_item=render_item,
        transactional_ddl=True,
        # {% if cookiecutter.database == "sqlite" %}
        # SQLite cannot alter a column: batch operations copy the table.
        render_as_batch=True,
        # {% endif %}
    )
    with context.begin_transaction():
        context.run_migrations()


def render_item(kind: str, item: object, autogenerate: object) -> str | bool:
    """Write our types into a revision as what they are in the database."""
    if kind == "type" and isinstance(item, base.UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


async def run_online() -> None:
    """Connect, and run."""
    # A service that starts hands its settings over.
    settings = context.config.attributes.get("settings") or get_settings()
    # {% if cookiecutter.database == "postgresql" %}    # A migration of a large table may take longer than a request.
    # {% endif %}
    # {% if cookiecutter.database == "postgresql" %}    settings = settings.model_copy(update={"database_statement_timeout": 0})
    # {% endif %}
    engine = db.create_engine(settings)
    try:
        async with engine.execution_options(migration=True).connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


if context.config.cmd_opts is not None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")

# On Windows, this loop is the one that every driver knows.
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    runner.run(run_online())
