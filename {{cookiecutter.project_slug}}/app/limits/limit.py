"""Limits in sliding windows: the limit, the state of a window, and the protocol of limiters."""

import math
import re
from typing import NamedTuple, Protocol

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

_parse = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)").fullmatch


class Limit(NamedTuple):
    """At most `amount` hits in any `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read a limit such as `100/minute`. Raise a ValueError for any other form."""
        if not (match := _parse(text.strip())):
            raise ValueError("use a number per second, minute, hour or day, such as 100/minute")
        return cls(int(match[1]), SECONDS[match[2]])


class WindowState(NamedTuple):
    """The state of a window after a hit.

    `is_open`: whether the hit is within the limit. `remaining`: how many more hits are allowed
    now. `reset`: seconds until more hits are allowed; if `is_open` is false, seconds until one is.
    """

    is_open: bool
    remaining: int
    reset: int

    @classmethod
    def of(
        cls, limit: Limit, *, is_open: bool, elapsed: float, count: int, previous: int
    ) -> "WindowState":
        """Compute the state from the counters of a window.

        `elapsed`: seconds since the current period started. `count`, `previous`: hits in the
        current period and in the one before.
        """
        left = limit.seconds - elapsed
        if is_open:
            used = count + math.floor(previous * left / limit.seconds)
            return cls(True, max(limit.amount - used, 0), math.ceil(left))
        if count < limit.amount:
            # There is room before this period ends: as soon as the weight of the previous period
            # has dropped far enough.
            left -= limit.seconds * (limit.amount - count) / previous
        return cls(False, 0, math.floor(left) + 1)


class Limiter(Protocol):
    """Counts hits per key in sliding windows.

    A window has two counters: the hits of the current period, and those of the period before,
    weighted by the share of it that the window still covers. It takes the same few bytes for any
    limit, and never allows twice the limit around the start of a period.
    """

    async def hit(self, key: str, limit: Limit) -> WindowState | None:
        """Count one hit unless the limit is reached. Return None if the store is unavailable."""
