"""The connection to Redis, which lets several processes act as one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import SecretStr, field_validator
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.core.settings import CoreSettings


class RedisSettings(CoreSettings):
    """`REDIS_URL` (none): such as `redis://localhost:6379/0`, a database of this service alone.

    Without it, what would be there is kept in memory: for one process, and until it ends.
    """

    redis_url: SecretStr = SecretStr("")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr) -> SecretStr:
        if url:
            try:
                parse_url(url.get_secret_value())
            except ValueError:
                raise ValueError("give a URL, such as redis://localhost:6379/0") from None
        return url


def connect(settings: RedisSettings) -> Redis | None:
    """Return the client that a process needs, or none without `REDIS_URL`.

    It connects when it is first asked, and again after a connection was lost.
    """
    if not settings.redis_url:
        return None
    # Once more, at once: a connection that idled may be gone. All else is for the caller to decide.
    retry = Retry(NoBackoff(), 1)
    return Redis.from_url(settings.redis_url.get_secret_value(), retry=retry)


def set_up(app: FastAPI, client: Redis | None) -> None:
    """Keep the client at `app.state.redis`, and let readiness ask it."""
    app.state.redis = client
    if client:
        app.state.checks["redis"] = client.ping


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the connections when the service stops."""
    try:
        yield
    finally:
        if app.state.redis:
            await app.state.redis.aclose()
