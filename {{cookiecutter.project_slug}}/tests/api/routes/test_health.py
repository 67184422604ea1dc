from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core import readiness
from app.core.readiness import Check


async def succeed() -> None: ...


async def fail() -> None:
    raise RuntimeError("secret")


async def hang() -> None:
    await anyio.sleep(5)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_a_service_without_failing_checks_is_healthy(
    prefix: str, path: str, make_client: Callable[..., TestClient]
) -> None:
    client = make_client(api_prefix=prefix)
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


@pytest.mark.parametrize(
    ("checks", "failed"),
    [
        ({"a": fail}, ["a"]),
        ({"a": succeed, "b": fail}, ["b"]),
        ({"b": fail, "a": hang}, ["a", "b"]),
    ],
)
def test_failing_checks_make_a_service_not_ready(
    checks: dict[str, Check],
    failed: list[str],
    app: FastAPI,
    client: TestClient,
    log: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", 0.2)
    app.state.checks = checks
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == f"Not ready: {', '.join(failed)}"
    warnings = [entry for entry in log() if entry["logger"] == readiness.__name__]
    reasons: dict[Check, str] = {fail: "RuntimeError('secret')", hang: "TimeoutError()"}
    assert sorted(entry["message"] for entry in warnings) == [
        f"not ready: {name}: {reasons[checks[name]]}" for name in failed
    ]
    assert not [entry for entry in warnings if "exception" in entry]
    assert client.get("/healthz").status_code == 200
    assert client.head("/readyz").status_code == 503


def test_checks_run_concurrently(app: FastAPI, client: TestClient) -> None:
    met = anyio.Event()

    async def meet() -> None:
        met.set()

    app.state.checks = {"first": met.wait, "second": meet}
    assert client.get("/readyz").status_code == 200
