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
        values: dict[str, Any] = {
            "debug": False,
            # {% if cookiecutter.use_api_key %}
            "api_keys": [HEADERS["X-API-Key"]],
            # {% endif %}
            # {% if cookiecutter.use_cors %}
            "backend_cors_origins": ["https://app.example.com"],
            # {% endif %}
            # {% if cookiecutter.use_rate_limit %}
            "rate_limit": "1000000/minute",
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


# {% if cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" %}
@pytest.fixture
def redis_url() -> str:
    """A real Redis. Skips where there is none, but fails where REQUIRE_SERVICES is set."""
    import os

    from redis import Redis, RedisError

    url = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/0"
    try:
        with Redis.from_url(url, socket_connect_timeout=1) as client:
            client.ping()
    except RedisError as error:
        if os.environ.get("REQUIRE_SERVICES"):
            raise
        pytest.skip(f"no Redis at TEST_REDIS_URL: {error}")
    return url


# {% endif %}
@pytest.fixture
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as servers do."""
    return "asyncio"


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    """A client of the application."""
    return make_client()
