from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.config import get_settings
from app.factory import create_app


def test_settings_are_read_from_the_environment_by_default(environ: Callable[..., None]) -> None:
    environ(MAX_BODY_SIZE="5")
    app = create_app()
    assert app.state.settings is get_settings()
    assert app.state.settings.max_body_size == 5


def test_the_middleware_is_logged_at_startup(
    app: FastAPI,
    log: Callable[[], list[dict[str, Any]]],
    make_client: Callable[..., TestClient],
) -> None:
    make_client(app)
    names = [getattr(layer.cls, "__name__", "") for layer in app.user_middleware]
    assert f"middleware: {' > '.join(names)}" in [entry["message"] for entry in log()]


def test_openapi_documents_the_errors(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    content = schema["paths"]["/"]["get"]["responses"]["default"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}


@pytest.mark.parametrize(("enabled", "status"), [(True, 200), (False, 404)])
@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_documentation_is_served_if_enabled(
    path: str, enabled: bool, status: int, make_client: Callable[..., TestClient]
) -> None:
    assert make_client(docs_enabled=enabled).get(path).status_code == status
