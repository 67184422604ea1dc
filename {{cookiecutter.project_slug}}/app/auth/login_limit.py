"""A limit on login attempts."""

from fastapi import HTTPException

from app.limits.limit import Limit, Limiter, WindowState
from app.limits.memory_limiter import MemoryLimiter

# After too many attempts for a user name, an address has this share of its attempts for it left.
SLOW_DOWN = 5


class LoginLimit:
    """Limits login attempts per client address, and per user name and address.

    A name is never locked, because anybody who knows it could lock the user out. Once `by_name` is
    exceeded for a name by all addresses together, each address only has a fifth of its attempts
    for it. The price: with many addresses, an attacker can go on guessing, at that rate from each.
    Successful attempts count too, so that a rejection does not reveal whether the password was
    right. `by_name`, `by_address`: the limits. `limiter`: counts the attempts. While its store is
    unavailable, attempts are counted in the memory of this process.
    """

    def __init__(self, *, by_name: Limit, by_address: Limit, limiter: Limiter) -> None:
        self.by_name = by_name
        self.by_name_slowed = Limit(max(by_name.amount // SLOW_DOWN, 1), by_name.seconds)
        self.by_address = by_address
        self.memory = MemoryLimiter()
        self.limiter = limiter

    async def check_address(self, network: str) -> None:
        """Count an attempt from the network of a client. Raises a 429 beyond the limit."""
        await self.check(f"address:{network}", self.by_address)

    async def check_name(self, username: str, network: str) -> None:
        """Count an attempt for a user name, whether it exists or not, from a network.

        Raises a 429 beyond the limit.
        """
        key = f"name:{username}:{network}"
        await self.check(key, self.by_name)
        if not (await self.hit(f"name:{username}", self.by_name)).is_open:
            await self.check(f"slow:{key}", self.by_name_slowed)

    async def check(self, key: str, limit: Limit) -> None:
        window = await self.hit(key, limit)
        if not window.is_open:
            headers = {"Retry-After": str(window.reset)}
            raise HTTPException(429, "Too many attempts", headers=headers)

    async def hit(self, key: str, limit: Limit) -> WindowState:
        key = f"login:{key}"
        return await self.limiter.hit(key, limit) or await self.memory.hit(key, limit)
