"""The connection to Redis, which lets several processes act as one."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import SplitResult, parse_qsl, urlsplit

from fastapi import FastAPI
from pydantic import SecretStr, field_validator
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterCrossSlotError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)

from app.core.settings import CoreSettings

EXAMPLE = "such as redis://localhost:6379/0"
REMEDY = "percent-encode what is special in the password, such as %40 for @"

# Parameters of the URL that mean something here, and leave the service as it is.
PARAMETERS = {
    "client_name",
    "db",
    "health_check_interval",
    "max_connections",
    "password",
    "protocol",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "username",
}
TLS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
TLS_PARAMETERS = TLS_FILES | {"ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"}

POSITIVE = {"max_connections", "socket_connect_timeout", "socket_timeout"}

# Connections of a process. What sends many commands at a time waits for its turn before.
MAX_CONNECTIONS = 100

# In a cluster, no server has both.
READINESS_KEYS = ("readiness:1", "readiness:2")

_is_database = re.compile(r"/?|/\d+")


class RedisSettings(CoreSettings):
    """The Redis server.

    `REDIS_URL` (none): a Redis database that only this service uses, such as
    `redis://localhost:6379/0`. Without it, each process keeps its data in memory, until it ends.
    """

    redis_url: SecretStr = SecretStr("")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr) -> SecretStr:
        if value:
            check_url(value.get_secret_value())
        return value


def check_url(url: str) -> None:
    """Raise ValueError if `url` does not lead to one Redis. The text never quotes the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Without its cause, which quotes a part of the URL.
        raise ValueError(f"give a URL, {EXAMPLE}; {REMEDY}") from None
    for kind in ("sentinel", "cluster"):
        if kind in parts.scheme:
            raise ValueError(f"Redis {kind.title()} is not supported: give the URL of one server")
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"give a URL, {EXAMPLE}")
    if parts.fragment:
        raise ValueError(f"contains a #; {REMEDY}")
    _check_parameters(parts)
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise ValueError("name the socket: unix:///run/redis.sock?db=0")
    elif not parts.hostname or "," in parts.netloc or port == 0:
        raise ValueError(f"name one host, {EXAMPLE}; {REMEDY}")
    elif not _is_database.fullmatch(parts.path) or (parts.path[1:] and "db=" in parts.query):
        raise ValueError(f"name the database once, by its number, {EXAMPLE}; {REMEDY}")
    try:
        # Makes an object, and no connection.
        pool = create_pool(url)
        pool.connection_class(**pool.connection_kwargs)
        numbers = [value for name, value in parse_qsl(parts.query) if name in POSITIVE]
        if not all(float(number) > 0 for number in numbers):
            raise ValueError
    except (RedisError, TypeError, ValueError):
        raise ValueError("a parameter has a value that cannot be used") from None


def _check_parameters(parts: SplitResult) -> None:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    parameters = dict(pairs)
    known = PARAMETERS | (TLS_PARAMETERS if parts.scheme == "rediss" else set())
    if not known.issuperset(parameters) or len(parameters) != len(pairs):
        # Does not name the unknown one, which may be a part of the password.
        raise ValueError(f"its parameters can be: {', '.join(sorted(known))}; {REMEDY}")
    for name in TLS_FILES.intersection(parameters):
        if not os.access(parameters[name], os.R_OK):
            raise ValueError(f"{name} names a file that cannot be read")


def create_pool(url: str) -> ConnectionPool:
    """Return a pool that connects when it is first asked, and again after a connection was lost.

    A command is sent once more, at once, if its connection turns out to be dead, as one that idled
    may be, or if the server has become a replica, which one does in a failover. All else is for
    the caller to decide.
    """
    retry = Retry(NoBackoff(), 1, (ConnectionError, TimeoutError, ReadOnlyError))
    return ConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS, retry=retry)


def connect(settings: RedisSettings) -> Redis | None:
    """Return the client that a process needs, or none without `REDIS_URL`."""
    if not settings.redis_url:
        return None
    return Redis.from_pool(create_pool(settings.redis_url.get_secret_value()))


async def check(client: Redis) -> None:
    """Raise unless Redis takes what the service writes.

    One that is out of memory, or a replica, responds to a PING all the same.
    """
    try:
        await client.mset(dict.fromkeys(READINESS_KEYS, ""))
    except (ClusterCrossSlotError, MovedError) as error:
        raise RuntimeError("REDIS_URL leads to a cluster, which is not supported") from error
    except RedisError as error:
        raise RuntimeError(explain(error)) from error


def explain(error: BaseException) -> str:
    """Return the kind and the text of an error. `repr` of those of redis-py leaves out the text."""
    return f"{type(error).__name__}: {error}"


def set_up(app: FastAPI, client: Redis | None) -> None:
    """Keep the client at `app.state.redis`, and let readiness ask it."""
    app.state.redis = client
    if client:
        app.state.checks["redis"] = partial(check, client)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the connections when the service stops."""
    try:
        yield
    finally:
        if app.state.redis:
            await app.state.redis.aclose()
