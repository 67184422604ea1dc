"""Messages between sockets: in memory for one process, through Redis for many."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from app.realtime.hub import Hub
from app.realtime.memory_hub import MemoryHub
from app.realtime.redis_hub import RedisHub


def set_up(app: FastAPI, redis: Redis | None, *, queue_size: int) -> None:
    """Keep a hub at `app.state.hub`, and let readiness ask it."""
    hub: Hub = MemoryHub(queue_size=queue_size)
    if redis:
        # To a channel all databases of a server are one; to a service hers is her own.
        database = redis.connection_pool.connection_kwargs.get("db") or 0
        channel = f"realtime:{database}"
        hub = RedisHub(redis, channel=channel, queue_size=queue_size)
    app.state.hub = hub
    app.state.checks["realtime"] = hub.check


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the hub while the service does."""
    await app.state.hub.start()
    try:
        yield
    finally:
        await app.state.hub.stop()
