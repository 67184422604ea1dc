from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.routes import health


async def succeed() -> None: ...


async def fail() -> None:
    raise ConnectionError("secret")


async def hang() -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_service_that_needs_nothing_else_is_healthy(path: str, client: TestClient) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


def test_probes_stay_where_they_are_behind_a_prefix(make_client: Callable[..., TestClient]) -> None:
    client = make_client(api_prefix="/api/v1")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"a": fail}, "Not ready: a"),
        ({"a": succeed, "b": fail}, "Not ready: b"),
        ({"b": fail, "a": hang}, "Not ready: a, b"),
    ],
)
def test_it_is_not_ready_while_something_does_not_answer(
    checks: dict[str, health.Check],
    message: str,
    app: FastAPI,
    make_client: Callable[..., TestClient],
    log: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.01)
    app.state.checks = checks
    client = make_client(app)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == message
    assert "secret" not in response.text
    reasons = {entry["message"] for entry in log() if entry["level"] == "WARNING"}
    assert reasons == {f"not ready: {name}" for name in message.partition(": ")[2].split(", ")}
    assert client.get("/healthz").status_code == 200


def test_checks_do_not_wait_for_each_other(
    app: FastAPI, make_client: Callable[..., TestClient]
) -> None:
    met = anyio.Event()

    async def wait() -> None:
        await met.wait()

    async def meet() -> None:
        met.set()

    app.state.checks = {"first": wait, "second": meet}
    assert make_client(app).get("/readyz").status_code == 200
