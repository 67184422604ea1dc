"""Writes that a worker cannot do without."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from app.core.redis import explain

# Seconds between two tries.
PAUSE = 1.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Return what `call` returns, and try until Redis takes it.

    A worker that cannot say how a task went would have to run it again. So it waits for Redis,
    holds the task meanwhile, and takes no more of them than it has room for.
    """
    is_refused = False
    while True:
        try:
            return await call()
        except (RedisError, OSError) as error:
            if not is_refused:
                logger.warning("Redis takes no state of a task, trying on: %s", explain(error))
            is_refused = True
            await asyncio.sleep(PAUSE)
