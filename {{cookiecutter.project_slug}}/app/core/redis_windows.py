"""Sliding windows on Redis."""

import asyncio
import logging
from time import monotonic

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.windows import Limit, MemoryWindows, Window, Windows

# How long a request waits for Redis: so many times so many seconds. On a busy event loop each turn
# takes longer and still lets an answer in, so that its lateness is not taken for an outage.
TURNS, TURN = 10, 0.005
# Seconds between two questions while Redis is down.
PAUSE = 1.0
# Questions at a time. A burst waits for its turn; it does not open a connection for each request.
SLOTS = 32

logger = logging.getLogger(__name__)


class RedisWindows:
    """Windows that all processes share. `client`: decides by the clock of its server."""

    # One round trip, in which nobody else comes between.
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
        self.ask_at = 0.0

    async def hit(self, key: str, limit: Limit) -> Window | None:
        """Count once, unless the limit is reached. None: Redis does not answer."""
        async with self.slots:
            if self.is_down:
                if monotonic() < self.ask_at:
                    return None
                self.ask_at = monotonic() + PAUSE
            try:
                window = await self.ask(key, limit)
            except (RedisError, OSError) as error:
                self.report_down(error)
                return None
            self.report_up()
            return window

    async def ask(self, key: str, limit: Limit) -> Window:
        call = asyncio.ensure_future(
            self.script(keys=[f"rate-limit:{key}"], args=[limit.amount, limit.seconds * 1000])
        )
        for _ in range(TURNS):
            await asyncio.wait([call], timeout=TURN)
            if call.done():
                is_open, elapsed, count, previous = call.result()
                return Window.of(
                    limit,
                    is_open=bool(is_open),
                    elapsed=elapsed / 1000,
                    count=count,
                    previous=previous,
                )
        call.cancel()
        raise TimeoutError(f"nothing within {TURNS * TURN:.2f} s")

    def report_down(self, error: Exception) -> None:
        # A line for each outage, not for each request.
        if not self.is_down:
            logger.error("Redis does not answer, nothing is counted: %r", error)
        self.is_down = True
        self.ask_at = monotonic() + PAUSE

    def report_up(self) -> None:
        if self.is_down:
            logger.warning("Redis answers again")
        self.is_down = False


def create_windows(client: Redis | None) -> Windows:
    """Return windows that all processes share, or without a client those of this process."""
    return RedisWindows(client) if client else MemoryWindows()
