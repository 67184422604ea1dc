import asyncio
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.db.sqlite import DatabaseSettings, create_engine


@pytest.mark.parametrize("url", ["sqlite:///a.db", "sqlite+aiosqlite:///a.db"])
def test_url_gets_the_driver(url: str) -> None:
    settings = DatabaseSettings(database_url=SecretStr(url))
    assert settings.database_url.get_secret_value() == "sqlite+aiosqlite:///a.db"
    assert "a.db" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("a.db", "must be a URL, such as sqlite:///app.db"),
        ("mysql://localhost/app", "must begin with sqlite:///"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "must name a file"),
    ],
)
def test_other_urls_are_rejected(url: str, remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        DatabaseSettings(database_url=SecretStr(url))


def test_engine(tmp_path: Path) -> None:
    settings = DatabaseSettings(
        database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/a.db"), database_busy_timeout=3
    )

    async def run() -> list[object]:
        engine = create_engine(settings)
        async with engine.connect() as connection:
            names = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
            values = [await connection.scalar(text(f"PRAGMA {name}")) for name in names]
        await engine.dispose()
        return values

    assert asyncio.run(run()) == ["wal", 2, 1, 3000]


def test_only_the_owner_can_read_the_database(tmp_path: Path) -> None:
    settings = DatabaseSettings(database_url=SecretStr(f"sqlite:///{tmp_path}/a.db"))

    async def run() -> dict[str, int]:
        engine = create_engine(settings)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
            modes = modes_of(tmp_path, "a.db*")
        await engine.dispose()
        return modes

    assert asyncio.run(run()) == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}


def modes_of(directory: Path, pattern: str) -> dict[str, int]:
    """Return the modes of files by their names."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.glob(pattern)}


def test_a_file_can_be_named_by_a_uri(tmp_path: Path) -> None:
    url = f"sqlite:///file:{tmp_path}/a.db?mode=rwc&uri=true"

    async def run() -> None:
        engine = create_engine(DatabaseSettings(database_url=SecretStr(url)))
        async with engine.connect():
            pass
        await engine.dispose()

    asyncio.run(run())
    assert (tmp_path / "a.db").exists()


def test_transaction_holds_ddl_and_reads(tmp_path: Path) -> None:
    """The driver alone would begin a transaction only before some of these statements."""
    settings = DatabaseSettings(database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/a.db"))

    async def run() -> None:
        engine = create_engine(settings)
        with pytest.raises(RuntimeError):
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
                raise RuntimeError
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT name FROM sqlite_master"))).all() == []
        await engine.dispose()

    asyncio.run(run())


def test_migration_can_replace_a_table(tmp_path: Path) -> None:
    """Without deleting what refers to it."""
    settings = DatabaseSettings(database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/a.db"))

    async def run() -> object:
        engine = create_engine(settings)
        async with engine.begin() as connection:
            for statement in (
                "CREATE TABLE a (id INTEGER PRIMARY KEY)",
                "CREATE TABLE b (id INTEGER REFERENCES a ON DELETE CASCADE)",
                "INSERT INTO a VALUES (1)",
                "INSERT INTO b VALUES (1)",
            ):
                await connection.execute(text(statement))
        with pytest.raises(IntegrityError):
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO b VALUES (2)"))
        migration = engine.execution_options(migration=True)
        async with migration.begin() as connection:
            for statement in (
                "CREATE TABLE c (id INTEGER PRIMARY KEY)",
                "INSERT INTO c SELECT id FROM a",
                "DROP TABLE a",
                "ALTER TABLE c RENAME TO a",
            ):
                await connection.execute(text(statement))
        async with engine.connect() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM b"))
        await engine.dispose()
        return count

    assert asyncio.run(run()) == 1
