"""Settings for production, applications with these settings, their clients, and a real server."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from starlette.types import ASGIApp

from app.config import Settings, get_settings
from app.factory import create_app

# {%- if cookiecutter.jwt != "none" +%}
from tests.auth.support import AUDIENCE, ISSUER, SECRET, make_token

# {%- endif +%}
from tests.support import ENVIRONMENT, HEADERS, Server

pytest_plugins = [
    # {% if cookiecutter.database != "none" %}
    "tests.fixtures.database",
    # {% endif %}
    "tests.fixtures.logs",
    # {% if cookiecutter.database == "postgresql" %}    "tests.fixtures.postgresql",
    # {% endif %}
    # {% if cookiecutter.__redis %}
    "tests.fixtures.redis",
    # {% endif %}
    "tests.fixtures.server",
    # {% if cookiecutter.database == "sqlite" %}
    "tests.fixtures.sqlite",
    # {% endif %}
]

# {% if cookiecutter.use_cors %}
ENVIRONMENT["BACKEND_CORS_ORIGINS"] = "https://app.example.com"
# {% endif %}
# {% if cookiecutter.use_trusted_host %}
ENVIRONMENT["ALLOWED_HOSTS"] = "testserver,127.0.0.1"
# {% endif %}
# {% if cookiecutter.use_rate_limit %}
ENVIRONMENT["RATE_LIMIT"] = "1000000/minute"
# {% endif %}
# {% if cookiecutter.use_api_key %}
ENVIRONMENT["API_KEYS"] = HEADERS["X-API-Key"] = "key-of-the-tests"
# {% endif %}
# {% if cookiecutter.database == "postgresql" %}ENVIRONMENT["DATABASE_URL"] = "postgresql://app@127.0.0.1/nowhere"
# {% endif %}
# {% if cookiecutter.jwt != "none" %}
ENVIRONMENT |= {"JWT_SECRET_KEY": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
HEADERS["Authorization"] = f"Bearer {make_token()}"
# {% endif %}
# {% if cookiecutter.jwt == "issue" %}
# The lowest costs that are allowed, so that tests do not wait for hashes.
ENVIRONMENT |= {"ARGON2_TIME_COST": "1", "ARGON2_MEMORY_COST": "19456"}
# {% endif %}

# By the layer that responds: the status of the error, and the path and headers of a request for it.
ERRORS: dict[str, tuple[int, str, dict[str, str]]] = {
    "router": (404, "/nowhere", {}),
    "errors": (500, "/fails", {}),
    "body_limit": (413, "/", {"Content-Length": "1000000000"}),
    # {% if cookiecutter.use_trusted_host %}
    "trusted_host": (400, "/", {"Host": "other.example.com"}),
    # {% endif %}
    # {% if cookiecutter.use_api_key %}
    "api_key": (401, "/nowhere", {"X-API-Key": "other"}),
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    "jwt": (401, "/nowhere", {"Authorization": "Bearer other"}),
    # {% endif %}
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the settings in the environment and in the project's `.env` from the tests.

    A test may write a `.env` to `tmp_path`.
    """
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))  # for servers that a test starts
    names = [
        *Settings.model_fields,
        # {% if cookiecutter.use_api_key %}
        "api_key",
        # {% endif %}
    ]
    for name in names:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("UVICORN_FORWARDED_ALLOW_IPS", raising=False)
    get_settings.cache_clear()


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that sets variables for production, with changes, in `tmp_path`."""

    def set_variables(**changes: str) -> None:
        monkeypatch.chdir(tmp_path)
        for name, value in (ENVIRONMENT | changes).items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def safe() -> dict[str, str]:
    """Return further variables, with which the settings have no risk in production."""
    return {
        "DEBUG": "false",
        "DOCS_ENABLED": "false",
        # {% if cookiecutter.background_tasks == "taskiq" %}
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        # {% endif %}
        # {% if cookiecutter.jwt == "issue" %}
        "ARGON2_TIME_COST": "3",
        "ARGON2_MEMORY_COST": "65536",
        # {% endif %}
    }


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Return a function that makes settings for production, with changes."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {name.lower(): value for name, value in ENVIRONMENT.items()}
        return Settings(**(values | changes))

    return make


@pytest.fixture
def make_app(make_settings: Callable[..., Settings]) -> Callable[..., FastAPI]:
    """Return a function that makes an application with changed settings and the route `/fails`."""

    def make(**changes: Any) -> FastAPI:
        app = create_app(make_settings(**changes))

        @app.get("/fails")
        async def fail() -> None:
            raise ValueError("secret")

        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    """Return the application of `client`. Tests may add routes to it."""
    return make_app()


@pytest.fixture
def make_client(make_app: Callable[..., FastAPI]) -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts an application and returns a client with all credentials.

    The client raises the exceptions of the application. With `raises=False` it returns the 500.
    """
    with ExitStack() as stack:

        def make(app: ASGIApp | None = None, raises: bool = True, **changes: Any) -> TestClient:
            app = app or make_app(**changes)
            client = TestClient(app, headers=dict(HEADERS), raise_server_exceptions=raises)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def anyio_backend() -> str:
    """Run tests marked `anyio` on asyncio, as servers do."""
    return "asyncio"


@pytest.fixture
# {% if cookiecutter.database != "postgresql" %}
def ready() -> None:
    # {% else %}def ready(database: None) -> None:
    # {% endif %}
    """Skip a test of `/readyz` if what the service needs is not there."""


@pytest.fixture
def client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    """Return a client of `app` with all credentials, which raises its exceptions."""
    return make_client(app)


@pytest.fixture
def lenient_client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    """Return a client of `app` for tests about a 500, which it returns."""
    return make_client(app, raises=False)


# {% if cookiecutter.use_cors %}
@pytest.fixture
def exposed() -> list[str]:
    """Return the response headers that a script in a browser may read."""
    return [
        "Location",
        "Retry-After",
        "WWW-Authenticate",
        # {% if cookiecutter.use_rate_limit %}
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        # {% endif %}
        # {% if cookiecutter.use_request_logging %}
        "X-Request-ID",
        "X-Process-Time",
        # {% endif %}
    ]


# {% endif %}
@pytest.fixture(params=ERRORS)
def get_error(
    request: pytest.FixtureRequest, lenient_client: TestClient
) -> Callable[..., Response]:
    """Return a function that makes a request which ends in an error.

    A test with this runs for each layer that responds with one.
    """
    status, path, headers = ERRORS[request.param]

    def get(**more: str) -> Response:
        response = lenient_client.get(path, headers=headers | more)
        assert response.status_code == status
        return response

    return get


@pytest.fixture
def serve(tmp_path: Path, environ: Callable[..., None]) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with changed variables, for at most a minute."""
    with ExitStack() as stack:

        def start(target: str = "app.main:app", **changes: str) -> Server:
            environ(**changes)
            server = stack.enter_context(Server(target, tmp_path))
            stack.callback(server.kill)
            limit = threading.Timer(60, server.kill)
            limit.start()
            stack.callback(limit.cancel)
            return server

        yield start
