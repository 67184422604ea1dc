"""The applications that are compared. They differ in the middleware around the same route."""

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

SERVICE = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
# Bytecode beside the modules would be generated into projects.
sys.dont_write_bytecode = not sys.pycache_prefix
sys.path.insert(0, str(SERVICE))

import jwt  # noqa: E402
import tutorial  # noqa: E402
from app.api.routes import root  # noqa: E402
from app.config import Settings  # noqa: E402
from app.core.logging import configure_logging  # noqa: E402
from app.factory import create_app  # noqa: E402
from app.limits.memory_limiter import MemoryLimiter  # noqa: E402
from app.stack import stack  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from fastapi.responses import PlainTextResponse  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402

HOST, ORIGIN = "api.example.com", "https://app.example.com"
KEY, SECRET = "key-of-the-benchmarks-with-43-characters-01", "a secret of the benchmarks: 32 bytes"

# Reported separately, because one of the examples is slow by design.
EXAMPLE = ("BaseHTTPMiddleware", "AddHeaderMiddleware")
# Middleware of Starlette, and middleware to which the target for the others does not apply.
STARLETTES = ("ServerErrorMiddleware", "CORSMiddleware", "GZipMiddleware")
EXCLUDED = ("RequestLoggingMiddleware", "RateLimitMiddleware")

# The headers that a script in a browser sends.
BROWSER = {
    "host": HOST,
    "connection": "keep-alive",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "application/json",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "origin": ORIGIN,
    "referer": f"{ORIGIN}/",
    "x-api-key": KEY,
}
# The headers that another service sends.
SERVICE_CLIENT = {name: BROWSER[name] for name in ("host", "user-agent", "accept", "x-api-key")}


def settings(**changes: Any) -> Settings:
    """Return settings for production, with limits that no benchmark reaches."""
    values: dict[str, Any] = {
        "debug": False,
        "backend_cors_origins": ORIGIN,
        "allowed_hosts": HOST,
        "rate_limit": "100000000/second",
        "api_keys": KEY,
        "jwt_secret_key": SECRET,
        "jwt_issuer": "https://id.example.com",
        "jwt_audience": f"https://{HOST}",
        "database_url": "sqlite:////nowhere/app.db",
    }
    return Settings(_env_file=None, **(values | changes))


def token() -> str:
    """Return a token that is valid for an hour."""
    now = int(time.time())
    times = {"iat": now, "exp": now + 3600}
    claims = {"iss": "https://id.example.com", "aud": f"https://{HOST}", "sub": "1", "jti": "1"}
    return str(jwt.encode(claims | times, SECRET, headers={"typ": "at+jwt"}))


class FormattingHandler(logging.Handler):
    """Formats a record, but does not write it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


# How log records are processed.
RECORDS: dict[str, Callable[[Path], logging.Handler]] = {
    "none": lambda path: logging.NullHandler(),
    "made": lambda path: logging.NullHandler(),
    "formatted": lambda path: FormattingHandler(),
    "written": logging.FileHandler,
}


def log_to(path: Path, name: str, records: str = "written") -> None:
    """Write log records to a file, or process them only as far as `records` says."""
    if name == "tutorial":
        logging.basicConfig(filename=path, format="%(message)s", level=logging.INFO, force=True)
        return
    configure_logging(settings(log_level="WARNING" if records == "none" else "INFO"))
    handler = RECORDS[records](path)
    handler.setFormatter(logging.root.handlers[0].formatter)
    logging.root.handlers[:] = [handler]


def bare(**options: Any) -> FastAPI:
    """Return FastAPI with the route in a router, as in an application of several files."""
    app = FastAPI(**options)
    app.include_router(root.router)
    return app


def bare_in_one_file() -> FastAPI:
    """Return FastAPI with the route in the application itself."""
    app = FastAPI()
    app.get("/")(root.read_root)
    return app


def full(**changes: Any) -> FastAPI:
    """Return the service with every option on, except the example."""
    app = create_app(settings(**changes))
    app.user_middleware[:] = [
        layer for layer in app.user_middleware if name_of(layer) not in EXAMPLE
    ]
    return app


def layers() -> list[Middleware]:
    """Return the middleware of the service."""
    built: list[Middleware] = stack(settings(), MemoryLimiter())
    return built


def behind(names: Collection[str]) -> FastAPI:
    """Return the bare application behind some middleware of the service."""
    return bare(middleware=[layer for layer in layers() if name_of(layer) in names])


class NothingMiddleware:
    """Passes the request and each message of the response on, as every middleware must."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            await send(message)

        await self.app(scope, receive, send_on)


def behind_nothing() -> FastAPI:
    """Return the bare application behind middleware that does nothing, one for each of `OURS`."""
    return bare(middleware=[Middleware(NothingMiddleware) for _ in OURS])


def behind_tutorial() -> FastAPI:
    """Return the bare application behind the stack of the tutorials."""
    app = bare()
    tutorial.add_middleware(app, origin=ORIGIN, host=HOST, key=KEY)
    return app


def behind_a_provider(remember: bool = True) -> FastAPI:
    """Return the bare application behind the middleware that verifies tokens of a provider.

    `remember`: verify a token once, instead of for each request.
    """
    # Imported here, because not every benchmark installs these packages.
    from app.auth import verify
    from app.middleware.jwt import JWTMiddleware
    from jwt.algorithms import OKPAlgorithm

    jwk = dict(OKPAlgorithm.to_jwk(provider_key().public_key(), as_dict=True))

    async def load() -> dict[str, Any]:
        return {"keys": [jwk | {"kid": "key"}]}

    values = {"jwt_issuer": "https://id.example.com", "jwt_audience": f"https://{HOST}"}
    verifier = verify.create_verifier(verify.JWTSettings.model_validate(values))
    verifier.keys.load = load
    if not remember:
        verifier.cache.max_bytes = 0
    return bare(middleware=[Middleware(JWTMiddleware, verifier=verifier, ignored_paths=[])])


def provider_key() -> Any:
    """Return the key of the identity provider, the same in every process."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def provider_token() -> str:
    """Return a token of the identity provider, as large as they usually are."""
    now = int(time.time())
    claims = {
        "iss": "https://id.example.com",
        "aud": [f"https://{HOST}", "account"],
        "sub": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "iat": now,
        "exp": now + 3600,
        "scope": "openid email profile items:read items:write",
        "realm_access": {"roles": [f"role-{number}" for number in range(10)]},
        "preferred_username": "ada",
    }
    headers = {"kid": "key"}
    return str(jwt.encode(claims, provider_key(), "EdDSA", headers=headers))


def name_of(layer: Middleware) -> str:
    """Return the name of the class of a middleware."""
    return str(getattr(layer.cls, "__name__", ""))


EVERY = [name_of(layer) for layer in layers()]
LAYERS = [name for name in EVERY if name not in EXAMPLE]
OURS = [name for name in LAYERS if name not in (*STARLETTES, *EXCLUDED)]

APPLICATIONS: dict[str, Callable[..., FastAPI]] = {
    "bare": bare,
    "bare, in one file": bare_in_one_file,
    "full": full,
    "stack": partial(behind, LAYERS),
    "no record": partial(behind, [name for name in LAYERS if name != "RequestLoggingMiddleware"]),
    "ours": partial(behind, OURS),
    "nothing": behind_nothing,
    "example": partial(behind, EXAMPLE),
    "tutorial": behind_tutorial,
    "provider": behind_a_provider,
    "provider, each time": partial(behind_a_provider, remember=False),
    **{name: partial(behind, [name]) for name in LAYERS},
}


def create(name: str, *, routes: int = 0, body: int = 0, **changes: Any) -> FastAPI:
    """Build an application by its name.

    `routes`: the number of further routes before `/last`. `body`: the size of the response of
    `/body`, in bytes. `changes`: changed settings, only for `full`.
    """
    app = APPLICATIONS[name](**changes)
    for number in range(routes):
        app.get(f"/route-{number}")(root.read_root)
    app.get("/last")(root.read_root)
    text = "".join(f"{number**3} " for number in range(body // 5 + 1))[:body]

    async def read_body() -> PlainTextResponse:
        return PlainTextResponse(text)

    app.get("/body")(read_body)
    return app


def served() -> FastAPI:
    """Return the application that uvicorn serves, whose name is in the environment."""
    name, log = os.environ["BENCHMARK_APPLICATION"], Path(os.environ["BENCHMARK_LOG"])
    log_to(log, name)
    if name == "full":
        return create(name, database_url=f"sqlite:///{log.parent}/app.db")
    return create(name)
