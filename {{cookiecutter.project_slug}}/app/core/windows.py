"""Sliding windows: how often something happened lately.

Each counts what happened in the current period and in the one before. Of the latter counts the
share that the window, as long as one period, still covers. So a window takes the same few bytes
for any limit, and nobody gets twice the limit where one period meets the next.
"""

import math
import re
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, Protocol

# Some 30 MB, when all of them are in use.
CAPACITY = 100_000

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

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

    @classmethod
    def of(
        cls, limit: Limit, *, is_open: bool, elapsed: float, count: int, previous: int
    ) -> "Window":
        """Return what is left after `elapsed` seconds of a period, `count` of them and `previous`."""
        left = limit.seconds - elapsed
        if is_open:
            used = count + math.floor(previous * left / limit.seconds)
            return cls(True, max(limit.amount - used, 0), math.ceil(left))
        if count < limit.amount:
            # Not until this period ends, only until the one before counts for little enough.
            left -= limit.seconds * (limit.amount - count) / previous
        return cls(False, 0, math.floor(left) + 1)


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
        kept = self.recent.get(key) or self.older.pop(key, None) or (now, 0, 0)
        start, count, previous = kept
        periods = (now - start) // limit.seconds
        if periods == 1:
            start, count, previous = start + limit.seconds, 0, count
        elif periods > 1:
            start, count, previous = now, 0, 0
        elapsed = now - start
        is_open = count + math.floor(previous * (1 - elapsed / limit.seconds)) < limit.amount
        if is_open:
            count += 1
            kept = (start, count, previous)
        # Also when it is refused, so that it is not forgotten for that.
        self.recent[key] = kept
        if len(self.recent) >= self.generation:
            self.recent, self.older = {}, self.recent
        return Window.of(limit, is_open=is_open, elapsed=elapsed, count=count, previous=previous)
