"""Sliding windows in the memory of one process."""

import math
from collections.abc import Callable
from time import monotonic

from app.limits.limit import Limit, WindowState

# About 30 MB when all of them are in use.
CAPACITY = 100_000


class MemoryLimiter:
    """Counts hits per key in this process.

    `capacity`: the maximum number of windows; the least recently hit are dropped first.
    `clock`: returns seconds.
    """

    def __init__(self, *, capacity: int = CAPACITY, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.generation = capacity // 2
        # Two generations approximate a queue ordered by use: the older one is dropped as a whole.
        self.recent: dict[str, tuple[float, int, int]] = {}
        self.older: dict[str, tuple[float, int, int]] = {}

    async def hit(self, key: str, limit: Limit) -> WindowState:
        """Count one hit unless the limit is reached."""
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
        # A rejected hit counts as use too, or a client could be forgotten while it is limited.
        self.recent[key] = kept
        if len(self.recent) >= self.generation:
            self.recent, self.older = {}, self.recent
        return WindowState.of(
            limit, is_open=is_open, elapsed=elapsed, count=count, previous=previous
        )
