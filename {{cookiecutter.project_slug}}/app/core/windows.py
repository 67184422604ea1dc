"""Sliding windows: how often something happened lately, in this process or on Redis.

Each counts what happened in the current period and in the one before. Of the latter counts the
share that the window, as long as one period, still covers. So a window takes the same few bytes
for any limit, and nobody gets twice the limit where one period meets the next.
"""

import asyncio
import logging
import math
import re
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

# How long a request waits for Redis: so many times so many seconds. On a busy event loop each turn
# takes longer and still lets an answer in, so that its lateness is not taken for an outage.
TURNS, TURN = 10, 0.005
# Seconds between two questions while Redis is down.
PAUSE = 1.0
# Questions at a time. A burst waits for its turn; it does not open a connection for each request.
SLOTS = 32

# Some 30 MB, when all of them are in use.
CAPACITY = 100_000

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

logger = logging.getLogger(__name__)
_parse = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)").fullmatch


class Limit(NamedTuple):
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read `100/minute`."""
        if not (match := _parse(text.strip())):
            raise ValueError("a limit is a number a second, minute, hour or day: 100/minute")
        return cls(int(match[1]), SECONDS[match[2]])


class Window(NamedTuple):
    """What is left. `reset`: seconds until there is more, or where none is left, until there is."""

    is_open: bool
    remaining: int
    reset: int


class Windows(Protocol):
    """Where windows are kept."""

    async def hit(self, key: str, limit: Limit) -> Window | None:
        """Count once, unless the limit is reached. None: the store does not answer."""


class MemoryWindows:
    """Windows of this process: `capacity` at most, those that were not hit for longest go first."""

    def __init__(self, *, capacity: int = CAPACITY, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.generation = capacity // 2
        # Two generations are a queue without the links: the older one goes as a whole.
        self.recent: dict[str, tuple[float, int, int]] = {}
        self.older: dict[str, tuple[float, int, int]] = {}

    async def hit(self, key: str, limit: Limit) -> Window:
        """Count once, unless the limit is reached."""
        now = self.clock()
        start, count, previous = self.recent.get(key) or self.older.pop(key, None) or (now, 0, 0)
        periods = int((now - start) // limit.seconds)
        if periods:
            start += periods * limit.seconds
            count, previous = 0, count if periods == 1 else 0
        elapsed = now - start
        is_open = count + math.floor(previous * (1 - elapsed / limit.seconds)) < limit.amount
        self.recent[key] = (start, count + is_open, previous)
        if len(self.recent) >= self.generation:
            self.recent, self.older = {}, self.recent
        return _window(limit, is_open, elapsed, count + is_open, previous)


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
        if periods > 0 then
            start = start + periods * period
            previous = periods == 1 and count or 0
            count = 0
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
                return _window(limit, bool(is_open), elapsed / 1000, count, previous)
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


def _window(limit: Limit, is_open: bool, elapsed: float, count: int, previous: int) -> Window:
    left = limit.seconds - elapsed
    if is_open:
        used = count + math.floor(previous * left / limit.seconds)
        return Window(True, max(limit.amount - used, 0), math.ceil(left))
    if count < limit.amount:
        # Not until this period ends, only until the one before counts for little enough.
        left -= limit.seconds * (limit.amount - count) / previous
    return Window(False, 0, math.floor(left) + 1)
