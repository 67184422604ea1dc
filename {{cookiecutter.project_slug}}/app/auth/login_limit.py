"""How often somebody may try to log in."""

import math
import re
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, Protocol

from fastapi import HTTPException

from app.core.addresses import network_of

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

# User names and addresses that are remembered, at most; the oldest go first.
CAPACITY = 50_000

_parse = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)").fullmatch


class Limit(NamedTuple):
    """At most `amount` in `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read `10/minute`."""
        if not (match := _parse(text.strip())):
            raise ValueError("a limit is a number a second, minute, hour or day: 10/minute")
        return cls(int(match[1]), SECONDS[match[2]])


class Window(NamedTuple):
    """What came of a try. `reset`: seconds until there is another."""

    is_open: bool
    reset: int


class Windows(Protocol):
    """Where tries are counted."""

    async def hit(self, key: str, limit: Any) -> Any:
        """Count one, unless the limit is reached. None: there is no telling."""


class MemoryWindows:
    """Counts in this process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        # In the order in which they began.
        self.windows: dict[str, tuple[float, int]] = {}

    async def hit(self, key: str, limit: Limit) -> Window:
        """Count one, unless the limit is reached."""
        now = self.clock()
        start, count = self.windows.get(key, (-math.inf, 0))
        if now - start >= limit.seconds:
            self.windows.pop(key, None)
            if len(self.windows) >= CAPACITY:
                del self.windows[next(iter(self.windows))]
            start, count = now, 0
        is_open = count < limit.amount
        self.windows[key] = (start, count + is_open)
        return Window(is_open, math.ceil(start + limit.seconds - now))


class LoginLimit:
    """Refuses with a 429 who tries too often: from one address, and for one user name.

    Good tries count as well: whether one was good is nothing that a refusal may tell.
    """

    def __init__(self, windows: Windows, *, by_name: Limit, by_address: Limit) -> None:
        self.windows = windows
        self.by_name = by_name
        self.by_address = by_address

    async def check_address(self, host: str) -> None:
        """Count a try from an address, or from its network."""
        await self.check(f"address:{network_of(host)}", self.by_address)

    async def check_name(self, username: str) -> None:
        """Count a try for a user name, whether or not there is such a user."""
        await self.check(f"name:{username}", self.by_name)

    async def check(self, key: str, limit: Limit) -> None:
        window = await self.windows.hit(f"login:{key}", limit)
        if window is not None and not window.is_open:
            headers = {"Retry-After": str(window.reset)}
            raise HTTPException(429, "Too many tries", headers=headers)
