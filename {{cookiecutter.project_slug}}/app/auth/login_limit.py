"""A limit on login attempts."""

from fastapi import HTTPException

from app.core.client_address import network_of
from app.limits.limit import Limit, Limiter
from app.limits.memory_limiter import MemoryLimiter


class LoginLimit:
    """Limits login attempts per client address and per user name.

    Successful attempts count too, so that a rejection does not reveal whether the password was
    right. `by_name`, `by_address`: the limits. `limiter`: counts the attempts. While its store is
    unavailable, attempts are counted in the memory of this process.
    """

    def __init__(self, *, by_name: Limit, by_address: Limit, limiter: Limiter) -> None:
        self.by_name = by_name
        self.by_address = by_address
        self.memory = MemoryLimiter()
        self.limiter = limiter

    async def check_address(self, host: str) -> None:
        """Count an attempt from an address or its IPv6 network. Raises a 429 beyond the limit."""
        await self.check(f"address:{network_of(host)}", self.by_address)

    async def check_name(self, username: str) -> None:
        """Count an attempt for a user name, whether it exists or not. Raises a 429 beyond the limit."""
        await self.check(f"name:{username}", self.by_name)

    async def check(self, key: str, limit: Limit) -> None:
        key = f"login:{key}"
        window = await self.limiter.hit(key, limit) or await self.memory.hit(key, limit)
        if not window.is_open:
            headers = {"Retry-After": str(window.reset)}
            raise HTTPException(429, "Too many attempts", headers=headers)
