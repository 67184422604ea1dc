"""Sliding windows on Redis, shared by all processes."""

import asyncio
import logging
from time import monotonic

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.redis import explain
from app.limits.limit import Limit, Limiter, WindowState
from app.limits.memory_limiter import MemoryLimiter

# A request waits TURNS times TURN seconds for Redis. On a busy event loop each turn takes longer and
# still receives a reply that has arrived, so a busy process is not mistaken for an outage.
TURNS, TURN = 10, 0.005
# Seconds between two attempts while Redis is unavailable.
PAUSE = 1.0
# Concurrent calls. In a burst, requests wait here instead of opening a connection each.
SLOTS = 32

logger = logging.getLogger(__name__)


class RedisLimiter:
    """Counts hits per key in Redis. The clock is that of the Redis server, for all processes.

    `client`: the client for the Redis server.
    """

    # A script runs atomically and takes one round trip.
    SCRIPT = """
        local amount, period = tonumber(ARGV[1]), tonumber(ARGV[2])
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local window = redis.call('HMGET', KEYS[1], 'start', 'count', 'previous')
        local start = tonumber(window[1]) or now
        local count = tonumber(window[2]) or 0
        local previous = tonumber(window[3]) or 0
        local periods = math.floor((now - start) / period)
        if periods == 1 then
            start, count, previous = start + period, 0, count
        elseif periods > 1 then
            start, count, previous = now, 0, 0
        end
        local elapsed = math.max(now - start, 0)
        local open = count + math.floor(previous * (1 - elapsed / period)) < amount
        if open then
            count = count + 1
            redis.call('HSET', KEYS[1], 'start', start, 'count', count, 'previous', previous)
            redis.call('PEXPIRE', KEYS[1], 2 * period)
        end
        return {open and 1 or 0, elapsed, count, previous}
    """

    def __init__(self, client: Redis) -> None:
        self.script = client.register_script(self.SCRIPT)
        self.slots = asyncio.Semaphore(SLOTS)
        self.is_down = False
        self.retry_at = 0.0

    async def hit(self, key: str, limit: Limit) -> WindowState | None:
        """Count one hit unless the limit is reached. Return None if Redis is unavailable."""
        async with self.slots:
            if self.is_down:
                if monotonic() < self.retry_at:
                    return None
                self.retry_at = monotonic() + PAUSE
            try:
                state = await self.run_script(key, limit)
            except (RedisError, OSError) as error:
                self.report_down(error)
                return None
            self.report_up()
            return state

    async def run_script(self, key: str, limit: Limit) -> WindowState:
        call = asyncio.ensure_future(
            self.script(keys=[f"rate-limit:{key}"], args=[limit.amount, limit.seconds * 1000])
        )
        for _ in range(TURNS):
            await asyncio.wait([call], timeout=TURN)
            if call.done():
                is_open, elapsed, count, previous = call.result()
                return WindowState.of(
                    limit,
                    is_open=bool(is_open),
                    elapsed=elapsed / 1000,
                    count=count,
                    previous=previous,
                )
        call.cancel()
        raise TimeoutError(f"no reply within {TURNS * TURN:.2f} s")

    def report_down(self, error: Exception) -> None:
        # One line per outage, not per request.
        if not self.is_down:
            logger.error("Redis is unavailable, requests are not counted: %s", explain(error))
        self.is_down = True
        self.retry_at = monotonic() + PAUSE

    def report_up(self) -> None:
        if self.is_down:
            logger.warning("Redis is available again")
        self.is_down = False


def create_limiter(client: Redis | None) -> Limiter:
    """Return a limiter for all processes, or without a `client` one for this process only."""
    return RedisLimiter(client) if client else MemoryLimiter()
