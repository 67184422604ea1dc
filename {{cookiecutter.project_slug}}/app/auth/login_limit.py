"""How often somebody may try to log in."""

from fastapi import HTTPException

from app.core.client_address import network_of
from app.limits.limit import Limit, Limiter
from app.limits.memory_limiter import MemoryLimiter


class LoginLimit:
    """Refuse with a 429 who tries too often: from one address, and for one user name.

    Good tries count as well: whether one was good is nothing that a refusal may tell.
    `limiter`: where tries are counted; in memory where there are none, or while they do not answer.
    """

    def __init__(self, *, by_name: Limit, by_address: Limit, limiter: Limiter) -> None:
        self.by_name = by_name
        self.by_address = by_address
        self.memory = MemoryLimiter()
        self.limiter = limiter

    async def check_address(self, host: str) -> None:
        """Count a try from an address, or from its network."""
        await self.check(f"address:{network_of(host)}", self.by_address)

    async def check_name(self, username: str) -> None:
        """Count a try for a user name, whether or not there is such a user."""
        await self.check(f"name:{username}", self.by_name)

    async def check(self, key: str, limit: Limit) -> None:
        key = f"login:{key}"
        window = await self.limiter.hit(key, limit) or await self.memory.hit(key, limit)
        if not window.is_open:
            headers = {"Retry-After": str(window.reset)}
            raise HTTPException(429, "Too many tries", headers=headers)
