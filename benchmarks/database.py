#!/usr/bin/env -S uv run
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "aiosqlite", "alembic", "fastapi>=0.165", "psycopg[binary]", "argon2-cffi",
#     "pydantic-settings", "pyjwt>=2.15", "python-multipart", "redis>=8.1",
#     "sqlalchemy[asyncio]>=2.1", "taskiq",
# ]
# ///
"""Measure the overhead of the transaction middleware for reads and writes.

The same routes are measured with the middleware, and with a session that the route itself opens
and commits ("by hand"). Both use one engine, and take turns in process, without a server. The
medians of the rounds and their ratio are printed. The ratio should be at most 1.05.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

SERVICE = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
sys.dont_write_bytecode = True
sys.path.insert(0, str(SERVICE))


def application(engine: Any) -> Any:
    """Return the applications with and without the middleware, each with three routes."""
    from app.api.dependencies import DbSession
    from app.api.routes.items import ItemOut
    from app.db.models import Item
    from app.db.sessions import create_sessions
    from app.middleware import transaction
    from fastapi import FastAPI

    through = FastAPI(middleware=[transaction.layer()])
    by_hand = FastAPI()
    through.state.sessions = by_hand.state.sessions = create_sessions(engine)

    @through.get("/item")
    async def read(session: DbSession) -> ItemOut:
        return ItemOut.model_validate(await session.get(Item, 1))

    @by_hand.get("/item")
    async def read_by_hand() -> ItemOut:
        async with by_hand.state.sessions() as session:
            item = ItemOut.model_validate(await session.get(Item, 1))
            await session.commit()
            return item

    @through.post("/item")
    async def write(session: DbSession) -> bool:
        session.add(Item(name=uuid4().hex, description=""))
        return True

    @by_hand.post("/item")
    async def write_by_hand() -> bool:
        async with by_hand.state.sessions() as session:
            session.add(Item(name=uuid4().hex, description=""))
            await session.commit()
            return True

    @through.get("/nothing")
    @by_hand.get("/nothing")
    async def nothing() -> bool:
        return True

    return through, by_hand


async def request(app: Any, method: str, path: str) -> None:
    """Send a request to an application."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)


async def seconds(app: Any, method: str, path: str, requests: int) -> float:
    """Return the average time of a request in seconds."""
    started = perf_counter()
    for _ in range(requests):
        await request(app, method, path)
    return (perf_counter() - started) / requests


async def measure(engine: Any, rounds: int, requests: int) -> None:
    """Measure both applications in turns, and print the results."""
    from app.db.base import Base
    from app.db.models import Item
    from sqlalchemy.ext.asyncio import AsyncSession

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add(Item(name="one", description=""))
    through, by_hand = application(engine)
    for method, path in (("GET", "/item"), ("POST", "/item"), ("GET", "/nothing")):
        times: dict[str, list[float]] = {"through": [], "by hand": []}
        for number in range(rounds + 1):
            turns = [("through", through), ("by hand", by_hand)]
            for name, app in turns if number % 2 else reversed(turns):
                times[name].append(await seconds(app, method, path, requests))
        # The first round warms up.
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        ratio = statistics.median(
            a / b for a, b in zip(times["through"][1:], times["by hand"][1:], strict=True)
        )
        print(
            f"{method:4} {path:9} through {medians['through'] * 1e6:6.0f} us"
            f"  by hand {medians['by hand'] * 1e6:6.0f} us  ratio {ratio:.3f}"
        )
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


def main() -> None:
    """Measure with SQLite, and with PostgreSQL if a URL is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="number of rounds (40)")
    parser.add_argument("--requests", type=int, default=100, help="requests per round (100)")
    parser.add_argument(
        "--url",
        default=os.environ.get("TEST_DATABASE_URL"),
        help="an empty PostgreSQL database (TEST_DATABASE_URL)",
    )
    arguments = parser.parse_args()

    from app.db import postgresql, sqlite
    from pydantic import SecretStr

    with tempfile.TemporaryDirectory() as directory:
        url = SecretStr(f"sqlite:///{directory}/benchmark.db")
        engine = sqlite.create_engine(sqlite.DatabaseSettings(database_url=url))
        print("SQLite")
        asyncio.run(measure(engine, arguments.rounds, arguments.requests))
    if arguments.url:
        url = SecretStr(arguments.url)
        engine = postgresql.create_engine(postgresql.DatabaseSettings(database_url=url))
        print("PostgreSQL")
        asyncio.run(measure(engine, arguments.rounds, arguments.requests))


if __name__ == "__main__":
    main()
