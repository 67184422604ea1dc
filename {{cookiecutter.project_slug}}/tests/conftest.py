"""Settings as in production, clients of applications built from them, and a real server."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Client, Response
from starlette.testclient import WebSocketDenialResponse
from starlette.types import ASGIApp, Message

from app.core.config import Settings, get_settings
from app.core.logging import JSONFormatter
from app.factory import create_app

# {% if cookiecutter.database == "sqlite" %}
pytest_plugins = ["tests.databases.shared", "tests.databases.sqlite"]

# {% elif cookiecutter.database == "postgresql" %}pytest_plugins = ["tests.databases.shared", "tests.databases.postgresql"]

# {% endif %}
# Every credential that a request needs.
HEADERS = {
    "Accept": "*/*",
    # {% if cookiecutter.use_api_key %}
    "X-API-Key": "key-of-the-tests",
    # {% endif %}
}

ENVIRONMENT = {
    "DEBUG": "false",
    # {% if cookiecutter.use_cors %}
    "BACKEND_CORS_ORIGINS": "https://app.example.com",
    # {% endif %}
    # {% if cookiecutter.use_trusted_host %}
    "ALLOWED_HOSTS": "testserver,127.0.0.1",
    # {% endif %}
    # {% if cookiecutter.use_rate_limit %}
    "RATE_LIMIT": "1000000/minute",
    # {% endif %}
    # {% if cookiecutter.use_api_key %}
    "API_KEYS": HEADERS["X-API-Key"],
    # {% endif %}
    # {% if cookiecutter.database == "postgresql" %}    "DATABASE_URL": "postgresql://app@127.0.0.1/nowhere",
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    "JWT_SECRET_KEY": "secret-of-the-tests-with-32-bytes",
    "JWT_ISSUER": "https://id.example.com",
    "JWT_AUDIENCE": "https://api.example.com",
    # {% endif %}
    # {% if cookiecutter.jwt == "issue" %}
    "ARGON2_TIME_COST": "1",
    "ARGON2_MEMORY_COST": "19456",
    # {% endif %}
}

# By the layer that answers it: the status, the path and the headers that bring the error about.
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


# {% if cookiecutter.jwt != "none" %}
def make_token(**changes: object) -> str:
    """An access token. `changes`: other claims than the usual ones; None leaves one out."""
    import time

    import jwt

    now = int(time.time())
    claims = {
        "iss": "https://id.example.com",
        "aud": "https://api.example.com",
        "sub": "user-of-the-tests",
        "jti": "token-of-the-tests",
        "iat": now,
        "exp": now + 900,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, "secret-of-the-tests-with-32-bytes", headers={"typ": "at+jwt"})


HEADERS["Authorization"] = f"Bearer {make_token()}"


# {% endif %}
@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine out of the tests."""
    names = [
        *Settings.model_fields,
        # {% if cookiecutter.use_api_key %}
        "api_key",
        # {% endif %}
    ]
    for name in names:
        monkeypatch.delenv(name.upper(), raising=False)
    get_settings.cache_clear()


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Set the variables of a service in production, with any of them changed, away from `.env`."""

    def set_variables(**changes: str) -> None:
        monkeypatch.chdir(tmp_path)
        for name, value in (ENVIRONMENT | changes).items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def safe() -> dict[str, str]:
    """What a service in production has besides."""
    return {
        "DEBUG": "false",
        # {% if cookiecutter.background_tasks == "taskiq" %}
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        # {% endif %}
    }


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Make settings that are fit for production, with any of them changed."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {name.lower(): value for name, value in ENVIRONMENT.items()}
        return Settings(_env_file=None, **(values | changes))

    return make


@pytest.fixture
def make_app(make_settings: Callable[..., Settings]) -> Callable[..., FastAPI]:
    """Make an application with some settings changed, and a route that fails: `/fails`."""

    def make(**changes: Any) -> FastAPI:
        app = create_app(make_settings(**changes))

        @app.get("/fails")
        async def fail() -> None:
            raise ValueError("secret")

        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    """The application that `client` asks. Tests may add routes to it."""
    return make_app()


@pytest.fixture
def make_client(make_app: Callable[..., FastAPI]) -> Iterator[Callable[..., TestClient]]:
    """Make a client of an application that runs; it sends every credential."""
    with ExitStack() as stack:

        def make(app: ASGIApp | None = None, **changes: Any) -> TestClient:
            app = app or make_app(**changes)
            client = TestClient(app, headers=dict(HEADERS), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


# {% if cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" %}
@pytest.fixture
def redis_url() -> str:
    """A real Redis. Skips where there is none, but fails where REQUIRE_SERVICES is set."""
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
def client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    """A client of `app`."""
    return make_client(app)


# {% if cookiecutter.jwt != "none" %}
@pytest.fixture(name="make_token")
def make_token_fixture() -> Callable[..., str]:
    """Make access tokens with other claims."""
    return make_token


# {% endif %}
@pytest.fixture
def layers() -> list[str]:
    """The layers, in the order in which a request meets them."""
    return [
        # {% if cookiecutter.use_request_logging %}
        "RequestLoggingMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_security_headers %}
        "SecurityHeadersMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_cors %}
        "CORSMiddleware",
        # {% endif %}
        "ServerErrorMiddleware",
        # {% if cookiecutter.use_trusted_host %}
        "TrustedHostMiddleware",
        # {% endif %}
        "BodyLimitMiddleware",
        # {% if cookiecutter.use_rate_limit %}
        "RateLimitMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_example_middleware %}
        "BaseHTTPMiddleware",
        "AddHeaderMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_gzip %}
        "GZipMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_websocket %}
        "WebSocketMiddleware",
        # {% endif %}
        # {% if cookiecutter.use_api_key %}
        "APIKeyMiddleware",
        # {% endif %}
        # {% if cookiecutter.jwt != "none" %}
        "JWTMiddleware",
        # {% endif %}
        # {% if cookiecutter.background_tasks == "taskiq" %}
        "OnSuccessMiddleware",
        # {% endif %}
        # {% if cookiecutter.database != "none" %}
        "TransactionMiddleware",
        # {% endif %}
    ]


# {% if cookiecutter.use_cors %}
@pytest.fixture
def exposed() -> list[str]:
    """The headers that a script in a browser may read."""
    return [
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
def get_error(request: pytest.FixtureRequest, client: TestClient) -> Callable[..., Response]:
    """Make a request that ends in an error. A test with this runs for each layer that answers one."""
    status, path, headers = ERRORS[request.param]

    def get(**more: str) -> Response:
        response = client.get(path, headers=headers | more)
        assert response.status_code == status
        return response

    return get


@pytest.fixture
def refuse() -> Callable[..., Response]:
    """Ask for a WebSocket that is refused, and return the answer."""

    def connect(client: TestClient, url: str, **headers: str) -> Response:
        with pytest.raises(WebSocketDenialResponse) as denial:
            client.websocket_connect(url, headers=headers).__enter__()
        return denial.value

    return connect


@pytest.fixture
def exchange() -> Callable[..., list[Message]]:
    """Call an application like a server, with a scope and messages that no client would send.

    Returns what it sends, or leaves that in `sent` where it raises.
    """

    def call(
        app: ASGIApp, *messages: Message, sent: list[Message] | None = None, **changes: Any
    ) -> list[Message]:
        sent = [] if sent is None else sent
        received = iter(messages or [{"type": "http.request"}])
        headers = {"Host": "testserver"} | HEADERS
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), headers[name].encode()) for name in headers],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }

        async def receive() -> Message:
            return next(received, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            sent.append(message)

        async def run() -> None:
            with anyio.fail_after(60):
                await app(scope | changes, receive, send)

        anyio.run(run)
        return sent

    return call


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[dict[str, Any]]]:
    """Return all that the service logged, as in production."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caplog.handler, "formatter", JSONFormatter())

    def read() -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in caplog.text.splitlines()]
        return [entry for entry in entries if entry["logger"] != "httpx2"]

    return read


@pytest.fixture
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test configure logging, and undo that."""
    names = (None, "uvicorn", "uvicorn.access", "uvicorn.error")
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
        monkeypatch.setattr(logger, "disabled", False)
    yield
    for logger, level in levels.items():
        logger.setLevel(level)


class Server(subprocess.Popen[str]):
    """uvicorn in a process of its own, on a free port."""

    def __init__(self, target: str, directory: Path) -> None:
        command = [sys.executable, "-m", "uvicorn", target, "--port=0"]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        pipe = subprocess.PIPE
        super().__init__(command, cwd=directory, env=environ, stdout=pipe, stderr=pipe, text=True)

    def connect(self) -> Client:
        """Wait until it serves, and return a client that sends every credential."""
        assert self.stdout
        for line in self.stdout:
            if "running on http" in (message := json.loads(line)["message"]):
                url = message.split()[3]
                return Client(base_url=url, headers=HEADERS, timeout=30, trust_env=False)
        raise AssertionError(f"uvicorn did not start: {self.communicate()}")

    def stop(self) -> list[dict[str, Any]]:
        """Ask it to stop, and return what it logged since `connect`."""
        self.terminate()
        output, _ = self.communicate()
        return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def serve(tmp_path: Path, environ: Callable[..., None]) -> Iterator[Callable[..., Server]]:
    """Start a server, for a minute at most, with some variables changed."""
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
