from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.factory import create_app


def test_settings_are_those_of_the_environment(environ: Callable[..., None]) -> None:
    environ(MAX_BODY_SIZE="5")
    assert create_app().state.settings.max_body_size == 5


def test_applications_are_independent(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(docs_enabled=False)
    first, second = create_app(settings), create_app(make_settings())
    first.state.checks["warehouse"] = None
    assert first.state.settings is settings
    assert second.docs_url
    assert second.state.checks == {}


def test_the_start_says_what_it_serves_behind(
    app: FastAPI,
    layers: list[str],
    make_client: Callable[..., TestClient],
    log: Callable[[], list[dict[str, Any]]],
) -> None:
    make_client(app)
    assert f"serving behind {' > '.join(layers)}" in [entry["message"] for entry in log()]


def test_the_errors_are_documented(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    answer = schema["paths"]["/"]["get"]["responses"]["default"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}


def test_the_documentation_is_served(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    assert client.get("/redoc").status_code == 200
