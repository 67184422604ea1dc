from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event, text

from app.api.dependencies import DbSession
from app.db.outage import Outage

Log = Callable[[], list[dict[str, Any]]]


def test_is_logged_once(log: Log) -> None:
    outage = Outage()
    outage.end()
    for _ in range(2):
        for reason in ("refused", "timed out"):
            outage.begin(OSError(reason))
        assert outage.has_begun
        for _ in range(2):
            outage.end()
        assert not outage.has_begun
    lines = [(entry["level"], entry["message"]) for entry in log()]
    assert lines == 2 * [
        ("ERROR", "the database is unavailable: refused"),
        ("WARNING", "the database is available again"),
    ]


@pytest.mark.usefixtures("database")
def test_requests_during_an_outage(app: FastAPI, client: TestClient, log: Log) -> None:
    @app.get("/read")
    async def read(session: DbSession) -> int:
        return int(await session.scalar(text("SELECT 1")) or 0)

    @app.get("/disconnect")
    async def disconnect() -> None:
        await app.state.engine.dispose()

    is_down = True

    @event.listens_for(app.state.engine.sync_engine, "do_connect")
    def lead_elsewhere(
        dialect: Any, record: object, arguments: list[Any], parameters: dict[str, Any]
    ) -> None:
        if is_down and "host" in parameters:
            parameters |= {"host": "/nowhere"}
        elif is_down:
            arguments[:] = ["/nowhere/app.db"]

    client.get("/disconnect")
    for _ in range(3):
        response = client.get("/read")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert response.json()["error"]["message"] == "The database is unavailable"
    is_down = False
    for _ in range(2):
        assert client.get("/read").json() == 1

    entries = [entry for entry in log() if entry["logger"] == "app.db.outage"]
    assert [entry["level"] for entry in entries] == ["ERROR", "WARNING"]
    assert not any("exception" in entry for entry in log())
