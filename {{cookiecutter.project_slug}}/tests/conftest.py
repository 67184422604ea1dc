"""Settings as in production, and a client for an application built from them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.factory import create_app

HEADERS = {
    # {% if cookiecutter.use_api_key %}
    "X-API-Key": "key-of-the-tests",
    # {% endif %}
    "Accept": "*/*",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine out of the tests."""
    for name in (*Settings.model_fields, "api_key"):
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Settings that are fit for production, with any of them changed."""

    def make(**changes: Any) -> Settings:
        values = {
            "debug": False,
            # {% if cookiecutter.use_api_key %}
            "api_keys": [HEADERS["X-API-Key"]],
            # {% endif %}
            # {% if cookiecutter.use_cors %}
            "backend_cors_origins": ["https://app.example.com"],
            # {% endif %}
            # {% if cookiecutter.use_trusted_host %}
            "allowed_hosts": ["testserver"],
            # {% endif %}
        }
        return Settings(_env_file=None, **(values | changes))

    return make


@pytest.fixture
def make_client(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., TestClient]]:
    """A client of a running application with some settings changed; it sends every credential.

    `app`: an application of the test's own in place of a new one.
    """
    with ExitStack() as stack:

        def make(app: FastAPI | None = None, **changes: Any) -> TestClient:
            app = app or create_app(make_settings(**changes))
            client = TestClient(app, headers=HEADERS, raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    """A client of the application."""
    return make_client()
