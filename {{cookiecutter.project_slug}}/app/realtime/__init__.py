"""Messages between WebSockets: in memory for one process, through Redis for several."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from app.realtime.hub import Hub
from app.realtime.memory_hub import MemoryHub
from app.realtime.redis_hub import RedisHub


def set_up(app: FastAPI, redis: Redis | None, *, queue_size: int) -> None:
    """Create the hub at `app.state.hub`, and add it to the readiness checks.

    `queue_size`: the maximum number of messages that wait for one WebSocket.
    """
    hub: Hub = MemoryHub(queue_size=queue_size)
    if redis:
        # Pub/sub ignores Redis database numbers, so the channel name includes the number.
        database = redis.connection_pool.connection_kwargs.get("db") or 0
        channel = f"realtime:{database}"
        hub = RedisHub(redis, channel=channel, queue_size=queue_size)
    app.state.hub = hub
    app.state.checks["realtime"] = hub.check


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start and stop the hub with the service."""
    await app.state.hub.start()
    try:
        yield
    finally:
        await app.state.hub.stop()
